"""What a PRM's scores become when features of an SAE are changed: what they write is taken off,
set to its mean, scaled or drawn anew, and all that the SAE does not rebuild stays as it is.

Where a feature does not fire nothing is changed, so that its effect there is exactly 0.
Source: Marks et al. 2024, arXiv 2403.19647 (feature ablation with error terms).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardscope.features.edit_names import FeatureEdit
from rewardscope.features.firing_of_solutions import FiredSolution
from rewardscope.interventions.moves import Move, Mover
from rewardscope.log import progress
from rewardscope.prms.scorer import HfScorer
from rewardscope.sae.measure.reward_kept import Solution
from rewardscope.sae.model.inference import Sae

# Shape legend: E firings of a solution, N positions, F features, D width.
Features = tuple[int, ...]
StepScores = list[tuple[float, ...]]


class Activations(NamedTuple):
    """All activations of each feature on the solutions, for edits that need them."""

    starts_F: NDArray[np.int64]
    """Where those of each feature begin, and the count of all at the end."""
    value_E: NDArray[np.float32]
    problem_E: NDArray[np.int64]
    mean_F: NDArray[np.float64]

    @classmethod
    def of(
        cls, fired: Sequence[FiredSolution], problems: Sequence[str], *, n_features: int
    ) -> "Activations":
        code = {name: number for number, name in enumerate(dict.fromkeys(problems))}
        feature_E = np.concatenate([one.feature_E for one in fired])
        order = np.argsort(feature_E, kind="stable")
        value_E = np.concatenate([one.value_E for one in fired])[order]
        problem_E = np.repeat([code[p] for p in problems], [len(one.value_E) for one in fired])
        count_F = np.bincount(feature_E, minlength=n_features)
        total_F = np.bincount(feature_E[order], weights=value_E, minlength=n_features)
        starts_F = np.concatenate([[0], count_F.cumsum()])
        return cls(starts_F, value_E, problem_E[order], total_F / np.maximum(count_F, 1))

    def elsewhere(self, feature: int, problem: int) -> NDArray[np.float32]:
        """Return the activations of a feature in other problems."""
        own = slice(self.starts_F[feature], self.starts_F[feature + 1])
        return self.value_E[own][self.problem_E[own] != problem]


class Ablation:
    """Scores solutions with features of one SAE changed."""

    def __init__(
        self,
        scorer: HfScorer,
        sae: Sae,
        solutions: Sequence[Solution],
        fired: Sequence[FiredSolution],
        *,
        seed: int,
    ) -> None:
        self._mover, self._sae = Mover(scorer, sae.layer), sae
        self._solutions, self._fired, self._seed = solutions, fired, seed
        problems = [solution.problem for solution in solutions]
        self._code = {name: number for number, name in enumerate(dict.fromkeys(problems))}
        self._activations = Activations.of(fired, problems, n_features=sae.n_features)

    def scores(
        self, sets: Sequence[Features], edit: FeatureEdit
    ) -> tuple[StepScores, dict[Features, StepScores]]:
        """Return the step scores of all solutions as they are, and under the edit of each set."""
        wanted = list(dict.fromkeys(sets))
        plain: StepScores = []
        found: dict[Features, StepScores] = {features: [] for features in wanted}
        for number, solution in enumerate(progress(self._solutions, f"{edit}", unit="solution")):
            moves = self._moves(number, wanted, edit)
            original, changed = self._mover.scores(solution.encoded, moves)
            plain.append(original)
            for features, scores in zip(wanted, changed, strict=True):
                found[features].append(scores)
        return plain, found

    def _moves(self, number: int, sets: Sequence[Features], edit: FeatureEdit) -> list[Move]:
        """Return what each set's edit adds to the states of a solution."""
        fired, problem = self._fired[number], self._code[self._solutions[number].problem]
        moves = []
        for features in sets:
            chosen_E = fired.of(features)
            positions_N, place_E = np.unique(fired.position_E[chosen_E], return_inverse=True)

            def added(
                chosen_E: NDArray[np.int64] = chosen_E,
                place_E: NDArray[np.int64] = place_E,
                n: int = len(positions_N),
            ) -> Tensor:
                change_E = self._change(fired, chosen_E, edit, number, problem)
                return self._written(fired.feature_E[chosen_E], change_E, place_E, n)

            moves.append(Move(positions_N.tolist(), added))
        return moves

    def _change(
        self,
        fired: FiredSolution,
        chosen_E: NDArray[np.int64],
        edit: FeatureEdit,
        number: int,
        problem: int,
    ) -> NDArray[np.float32]:
        """Return the new activations less the old ones."""
        value_E, feature_E = fired.value_E[chosen_E], fired.feature_E[chosen_E]
        if edit.kind in ("ablate", "scale"):
            return (np.float32(edit.factor) - np.float32(1)) * value_E
        if edit.kind == "mean":
            return self._activations.mean_F[feature_E].astype(np.float32) - value_E
        new_E = value_E.copy()
        # entries of a feature lie side by side
        for feature in np.unique(feature_E).tolist():
            own_E = feature_E == feature
            others = self._activations.elsewhere(feature, problem)
            if len(others):
                # of the feature and the solution alone, so that a draw depends on no other edit
                rng = np.random.default_rng((self._seed, feature, number))
                new_E[own_E] = rng.choice(others, size=int(own_E.sum()))
        return new_E - value_E

    def _written(
        self,
        feature_E: NDArray[np.int64],
        change_E: NDArray[np.float32],
        place_E: NDArray[np.int64],
        n_positions: int,
    ) -> Tensor:
        """Return what changes of activations write at each position [N, D]."""
        weights = self._sae.W_dec_FD
        written_ND = weights.new_zeros(n_positions, weights.shape[1])
        rows_ED = weights[torch.as_tensor(feature_E, device=weights.device)]
        change = torch.as_tensor(change_E, device=weights.device)[:, None]
        return written_ND.index_add_(
            0, torch.as_tensor(place_E, device=weights.device), rows_ED * change
        )


def mean_facts(facts_F: NDArray[np.float64], sets: Sequence[Features]) -> float | None:
    """Return the mean of a fact over the members of sets, None where there is none."""
    members = [feature for features in sets for feature in features]
    return float(facts_F[members].mean()) if members else None


def twins(
    fired: Sequence[FiredSolution],
    others: Sequence[FiredSolution],
    wanted: Sequence[int],
    *,
    n_others: int,
    n_tokens: int,
) -> Mapping[int, int]:
    """Return for each feature the one of another SAE whose activations correlate most with its own,
    over the same tokens of the same solutions.
    """
    place = {feature: row for row, feature in enumerate(wanted)}
    product_FG = np.zeros((len(wanted), n_others))
    sum_F, square_F = np.zeros((2, len(wanted)))
    sum_G, square_G = np.zeros((2, n_others))
    for mine, theirs in zip(fired, others, strict=True):
        chosen_E = mine.of(tuple(wanted))
        row_E = np.array([place[f] for f in mine.feature_E[chosen_E].tolist()], dtype=np.int64)
        value_E = mine.value_E[chosen_E].astype(np.float64)
        np.add.at(sum_F, row_E, value_E)
        np.add.at(square_F, row_E, value_E**2)
        np.add.at(sum_G, theirs.feature_E, theirs.value_E.astype(np.float64))
        np.add.at(square_G, theirs.feature_E, theirs.value_E.astype(np.float64) ** 2)
        length = max([0, *mine.position_E.tolist(), *theirs.position_E.tolist()]) + 1
        dense_TF = np.zeros((length, len(wanted)))
        dense_TF[mine.position_E[chosen_E], row_E] = value_E
        np.add.at(
            product_FG.T, theirs.feature_E, theirs.value_E[:, None] * dense_TF[theirs.position_E]
        )
    covariance_FG = product_FG - np.outer(sum_F, sum_G) / n_tokens
    spread_G = np.sqrt(np.maximum(square_G - sum_G**2 / n_tokens, 0))
    correlation_FG = np.divide(
        covariance_FG, spread_G, out=np.full_like(covariance_FG, -np.inf), where=spread_G > 1e-12
    )
    return {feature: int(correlation_FG[row].argmax()) for feature, row in place.items()}
