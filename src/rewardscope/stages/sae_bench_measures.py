"""The numbers of `sae-bench`: each SAE of a layer through every measure, on the same rows."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rewardscope.features.baselines import random_directions
from rewardscope.features.stability import find_twins
from rewardscope.probes.fit import fit_probe
from rewardscope.records import Estimate
from rewardscope.sae.measure.bench_rows import BenchRows, Fit, Found, Probe
from rewardscope.sae.measure.concept_removal import (
    Confounded,
    Removal,
    has_all_cells,
    spurious_removal,
    targeted_perturbation,
)
from rewardscope.sae.measure.quality import QualitySums
from rewardscope.sae.measure.sparse_probing import SPARSE_PROBE, sparse_probes
from rewardscope.sae.model.inference import Sae
from rewardscope.sae.model.sparse_codes import Csr, sparse_codes
from rewardscope.stages.sae_bench_rows import CORRECT, BenchData
from rewardscope.statistics.draws import Draws
from rewardscope.statistics.intervals import (
    AMOUNT,
    DIFFERENCE,
    UNIT,
    auroc_estimate,
    interval,
    wilson,
)
from rewardscope.statistics.measures import Measured, auroc_measure

if TYPE_CHECKING:
    from torch import Tensor

# Shape legend: N rows, D width, F features, T held-out rows.
FVU, L0, DEAD, DENSE, STABLE, KEPT = (
    "FVU",
    "L0",
    "dead features",
    "dense features",
    "stable features",
    "reward kept",
)
STATES_PROBE, BIASED, UNBIASED = (
    "probe of states",
    "probe fitted to a confounded set",
    "probe fitted to all training rows",
)
ALL_ROWS = "all rows"  # of the held-out problems; of all problems for stable features
DENSE_RATE = 0.1  # a feature that fires in more rows is dense
RANDOM_DIRECTIONS, RANDOM_FEATURES, SHUFFLED = (
    "random directions",
    "random features",
    "shuffled twin",
)


class Value(NamedTuple):
    """One number of one SAE (or of the states), whatever it is of.

    measured, draws: what it can be compared by; None where it is a share of features.
    """

    measure: str
    setting: str
    estimate: Estimate
    unit: str = "problems"
    measured: Measured | None = None
    draws: Draws | None = None
    controlled_by: str | None = None
    control: float | None = None
    lead: Estimate | None = None


def make_fit(*, folds: int, penalties: Sequence[float]) -> Fit:
    """Return how probes are fitted: logistic regression, its penalty chosen over folds of
    problems.
    """

    def fit(features_ND: np.ndarray, positive_N: np.ndarray, fold_N: np.ndarray) -> Probe:
        probe = fit_probe(
            lambda: iter([features_ND]),
            positive_N.astype(np.float64),
            fold_N,
            folds=folds,
            penalties=penalties,
            classes=True,
        )
        slope_D = probe.weights / probe.scale
        return Probe(slope_D, probe.intercept - float(probe.mean @ slope_D))

    return fit


class LayerBench:
    """One layer's rows and the probes of its states, which all its SAEs are measured by."""

    def __init__(self, rows: BenchRows, fit: Fit, *, ks: Sequence[int], seed: int) -> None:
        self._rows, self._fit, self._ks, self._seed = rows, fit, ks, seed
        test_N = ~rows.train_N
        self._probes = {name: rows.fit(fit, name) for name in rows.concepts}
        self._correct_T = rows.concepts[CORRECT][test_N]
        self._states = auroc_measure(
            self._correct_T, self._probes[CORRECT].score(rows.states_ND[test_N]), rows.draws
        )
        self.unmeasured = [
            name
            for name in rows.concepts
            if name != CORRECT and not has_all_cells(rows, CORRECT, name)
        ]
        self._biased = [
            Confounded(rows, CORRECT, name, fit)
            for name in rows.concepts
            if name != CORRECT and name not in self.unmeasured
        ]

    def of_states(self) -> Iterator[Value]:
        """Yield what probes of the raw states do."""
        draws, test_N = self._rows.draws, ~self._rows.train_N
        yield Value(STATES_PROBE, CORRECT, auroc_estimate(self._states, self._correct_T, draws))
        score_T = self._probes[CORRECT].score(self._rows.states_ND[test_N])
        for biased in self._biased:
            for name, measured in ((BIASED, biased.before), (UNBIASED, biased.of_scores(score_T))):
                yield Value(name, biased.spurious, interval(measured, draws, scale=UNIT))

    def of_sae(self, sae: Sae) -> Iterator[Value]:
        """Yield every measure of an SAE that needs step ends alone."""
        rows, draws = self._rows, self._rows.draws
        codes_NF = _codes(sae, rows.states_ND)
        train_ND = _tensor(rows.states_ND[rows.train_N], sae)
        rate_F = np.asarray((codes_NF[rows.train_N] > 0).mean(axis=0)).ravel()
        random = random_directions(sae, rate_F, train_ND, seed=self._seed)
        random_NF = _codes(random, rows.states_ND)
        for found in sparse_probes(
            codes_NF,
            random_NF,
            rows,
            concept=CORRECT,
            states=self._states,
            ks=self._ks,
            fit=self._fit,
        ):
            yield self._value(found, draws, RANDOM_DIRECTIONS)
        removal = Removal(codes_NF, sae.W_dec_FD.double().cpu().numpy(), rows, seed=self._seed)
        for biased in self._biased:
            for found in spurious_removal(removal, biased, ks=self._ks):
                yield self._value(found, draws, RANDOM_FEATURES)
        if len(self._probes) > 1:
            for found in targeted_perturbation(removal, rows, self._probes, ks=self._ks):
                yield self._value(found, draws, RANDOM_FEATURES)

    def _value(self, found: Found, draws: Draws, controlled_by: str) -> Value:
        estimate = (
            auroc_estimate(found.measured, self._correct_T, draws)
            if found.measure == SPARSE_PROBE
            else interval(found.measured, draws, scale=DIFFERENCE)
        )
        return Value(
            found.measure,
            found.setting,
            estimate,
            measured=found.measured,
            draws=draws,
            controlled_by=controlled_by,
            control=found.control.value,
            lead=interval(found.measured - found.control, draws, scale=DIFFERENCE),
        )


def quality_of(sae: Sae, data: BenchData, *, seed: int) -> Iterator[Value]:
    """Yield FVU, L0, dead and dense features on every row of the held-out problems."""
    code = {problem: number for number, problem in enumerate(data.test_problems)}
    sums = QualitySums(sae, n_problems=len(code))
    for store, same in zip(data.stores, data.ids, strict=True):
        for acts_ND, rows in store.stream(sae.layer):
            of_problem = np.array([code.get(same.get(name, name), -1) for name in rows.problems])
            problem_N = of_problem[rows.problem_N]
            held_N = problem_N >= 0
            if held_N.any():
                states_ND = _tensor(acts_ND.numpy()[held_N], sae)
                sums.add(states_ND, problem_N[held_N])
    fvu, l0, draws = sums.measured(seed=seed)
    for name, measured in ((FVU, fvu), (L0, l0)):
        estimate = interval(measured, draws, scale=AMOUNT)
        yield Value(name, ALL_ROWS, estimate, measured=measured, draws=draws)
    rate_F = sums.rate_F
    for name, has_F in ((DEAD, rate_F == 0), (DENSE, rate_F > DENSE_RATE)):
        yield Value(name, ALL_ROWS, wilson(int(has_F.sum()), len(has_F)), "features")


def stability_of(sae: Sae, twin: Sae, data: BenchData, *, seed: int) -> Value:
    """Return the share of the features that fire which come back in an SAE of another seed."""
    twins = find_twins(sae, [twin], data.stores, seed=seed)
    fires_F = twins.correlation_F > 0
    stable = int(twins.stable_F[fires_F].sum())
    share = wilson(stable, max(1, int(fires_F.sum())))
    return Value(STABLE, ALL_ROWS, share, "features", controlled_by=SHUFFLED, control=twins.chance)


def _codes(sae: Sae, states_ND: np.ndarray) -> Csr:
    return sparse_codes(sae, _tensor(states_ND, sae))


def _tensor(states_ND: np.ndarray, sae: Sae) -> "Tensor":
    import torch

    return torch.from_numpy(states_ND).to(sae.W_enc_DF.device)
