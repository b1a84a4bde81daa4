"""What happens to probes of the states where the features of one concept are set to their means:
spurious correlation removal, and targeted perturbation.

The SAE's error stays: a state loses the features' contributions less their means over the training
rows, so that a probe's intercept still fits. Which features: those whose difference of mean
activation times the product of decoder row and probe is largest (the effect on the probe).
Sources: SHIFT, Marks et al. 2024, arXiv 2403.19647; SCR and TPP, Karvonen et al. 2024, arXiv
2411.18895.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardscope.sae.measure.bench_rows import (
    BenchRows,
    Bools,
    Fit,
    Found,
    Probe,
    mean_difference,
    strongest,
)
from rewardscope.sae.model.sparse_codes import Csr
from rewardscope.statistics.draws import Array, Draws
from rewardscope.statistics.measures import Measured, auroc_measure, average, of_sums

# Shape legend: N rows, F features, D width, K features of a set, T held-out rows.
REMOVAL, TARGETED = "spurious correlation removal", "targeted perturbation"
RANDOM_SETS = 5
MIN_CELL = 10  # rows of each of the four cells, on both sides
Features = NDArray[np.int64]


class Removal:
    """Changes the scores of probes by setting features of one SAE to their means."""

    def __init__(self, codes_NF: Csr, W_dec_FD: NDArray, rows: BenchRows, *, seed: int) -> None:
        self._rows, self._W_dec_FD, self._seed = rows, W_dec_FD, seed
        self._train_NF, self._test_TF = codes_NF[rows.train_N], codes_NF[~rows.train_N]
        self._test_TF = self._test_TF.tocsc()
        self.mean_F: Array = np.asarray(self._train_NF.mean(axis=0)).ravel()

    def features_of(
        self, concept: str, probe: Probe, k: int, within: str | None = None
    ) -> Features:
        """Return the k features that a probe of a concept stands on most; `within`: by differences
        among rows that are alike in another concept.
        """
        positive_N = self._rows.concepts[concept][self._rows.train_N]
        if within is None:
            difference_F = mean_difference(self._train_NF, positive_N)
        else:
            other_N = self._rows.concepts[within][self._rows.train_N]
            difference_F = np.mean(
                [
                    mean_difference(self._train_NF[side], positive_N[side])
                    for side in (other_N, ~other_N)
                ],
                axis=0,
            )
        return strongest(difference_F * (self._W_dec_FD @ probe.slope_D), k)

    def random_sets(self, chosen: Features, k: int) -> list[Features]:
        """Return sets of k random features that fire and are not among the chosen ones."""
        alive = np.setdiff1d(np.flatnonzero(self.mean_F > 0), chosen)
        random = np.random.default_rng(self._seed)
        size = min(k, len(alive))
        return [random.choice(alive, size=size, replace=False) for _ in range(RANDOM_SETS)]

    def change(self, probe: Probe, features: Features) -> Array:
        """Return how the log odds [T] of held-out rows change."""
        centred_TK = self._test_TF[:, features].toarray() - self.mean_F[features]
        return -centred_TK @ (self._W_dec_FD[features] @ probe.slope_D)


def cells(first_N: Bools, second_N: Bools) -> NDArray[np.int64]:
    """Return which of the four combinations of two concepts each row has."""
    return 2 * first_N.astype(np.int64) + second_N


def has_all_cells(rows: BenchRows, target: str, spurious: str) -> bool:
    """Say whether both sides have rows of all four combinations."""
    cell_N = cells(rows.concepts[target], rows.concepts[spurious])
    return all(
        np.bincount(cell_N[side], minlength=4).min() >= MIN_CELL
        for side in (rows.train_N, ~rows.train_N)
    )


def confounded(rows: BenchRows, target: str, spurious: str) -> Bools:
    """Return the training rows [N] of a set in which the two concepts are one: as many rows where
    both hold as where neither does, evenly spaced.
    """
    cell_N = cells(rows.concepts[target], rows.concepts[spurious])
    both, neither = (np.flatnonzero(rows.train_N & (cell_N == cell)) for cell in (3, 0))
    n, chosen_N = min(len(both), len(neither)), np.zeros(len(cell_N), dtype=np.bool_)
    for side in (both, neither):
        chosen_N[side[np.arange(n) * len(side) // n]] = True
    return chosen_N


def balanced_accuracy(right_N: Bools, cell_N: NDArray[np.int64], draws: Draws) -> Measured:
    """Return the accuracy with each of the four combinations counted as much."""
    inside = [cell_N == cell for cell in range(4)]
    sums = draws.sums(*(right_N & each for each in inside), *inside)
    return of_sums(lambda s: (s[..., :4] / s[..., 4:]).mean(axis=-1), sums, draws)


class Confounded:
    """A probe of a target that was fitted where a spurious concept went with it, and how it does
    where all four combinations count as much.
    """

    def __init__(self, rows: BenchRows, target: str, spurious: str, fit: Fit) -> None:
        assert has_all_cells(rows, target, spurious), (target, spurious)
        test_N = ~rows.train_N
        self.target, self.spurious, self._draws = target, spurious, rows.draws
        self.probe = rows.fit(fit, target, confounded(rows, target, spurious))
        self._score_T = self.probe.score(rows.states_ND[test_N])
        self._positive_T = rows.concepts[target][test_N]
        self._cell_T = cells(self._positive_T, rows.concepts[spurious][test_N])
        self.before = self.accuracy(np.zeros(len(self._score_T)))

    def accuracy(self, change_T: Array) -> Measured:
        """Return the balanced accuracy with changed log odds."""
        return self.of_scores(self._score_T + change_T)

    def of_scores(self, score_T: Array) -> Measured:
        """Return the balanced accuracy of other log odds of the same rows."""
        right_T = (score_T > 0) == self._positive_T
        return balanced_accuracy(right_T, self._cell_T, self._draws)


def spurious_removal(removal: Removal, biased: Confounded, *, ks: Sequence[int]) -> Iterator[Found]:
    """Yield how far the balanced accuracy rises where the k features of the spurious concept are
    removed, beside removing as many random ones.
    """
    for k in ks:
        chosen = removal.features_of(biased.spurious, biased.probe, k, within=biased.target)
        own, *random = (
            biased.accuracy(removal.change(biased.probe, features)) - biased.before
            for features in (chosen, *removal.random_sets(chosen, k))
        )
        yield Found(REMOVAL, f"{biased.spurious}, k {k}", own, average(random))


def targeted_perturbation(
    removal: Removal, rows: BenchRows, probes: Mapping[str, Probe], *, ks: Sequence[int]
) -> Iterator[Found]:
    """Yield for each concept how much more the AUROC of its own probe falls than those of the
    others do on average, where its k features are removed.
    """
    test_N = ~rows.train_N
    score_T = {name: probe.score(rows.states_ND[test_N]) for name, probe in probes.items()}
    auroc = {
        name: auroc_measure(rows.concepts[name][test_N], score_T[name], rows.draws)
        for name in probes
    }

    def falls(name: str, features: Features) -> Measured:
        changed_T = score_T[name] + removal.change(probes[name], features)
        return auroc[name] - auroc_measure(rows.concepts[name][test_N], changed_T, rows.draws)

    def targeted(concept: str, features: Features) -> Measured:
        others = [falls(name, features) for name in probes if name != concept]
        return falls(concept, features) - average(others)

    for concept, probe in probes.items():
        for k in ks:
            chosen = removal.features_of(concept, probe, k)
            own, *random = (
                targeted(concept, features)
                for features in (chosen, *removal.random_sets(chosen, k))
            )
            yield Found(TARGETED, f"{concept}, k {k}", own, average(random))
