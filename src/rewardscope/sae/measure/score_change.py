"""How far two scorings of the same steps differ, with intervals over problems: weighted ranks, so
that a resample sorts nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.records import Estimate

# Shape legend: S steps, P problems, R resamples (the first is the data as it is), V different
# values.
Array = NDArray[np.float64]
RESAMPLES = 1000
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of the step scores.

    difference: mean absolute change. spearman: with the original scores, both rounded to 6 digits,
    so that what rounding makes of equal scores has no rank. agreement: share of steps on the same
    side of the threshold. auroc_change: of finding right steps, new minus original; None where the
    labels are of one kind or unknown.
    """

    difference: Estimate
    spearman: Estimate
    agreement: Estimate
    auroc_change: Estimate | None


class Steps(NamedTuple):
    """The original scores, and what is known of each step."""

    score_S: Array
    right_S: NDArray[np.int8]
    """1 right, 0 wrong, -1 unknown."""
    problem_S: NDArray[np.int64]
    """Codes from 0."""


class Comparison:
    """Compares changed scores with the original ones; every comparison draws the same problems."""

    def __init__(
        self, steps: Steps, *, threshold: float, seed: int, n_resamples: int = RESAMPLES
    ) -> None:
        self._steps, self.threshold = steps, threshold
        _, self._problem_S = np.unique(steps.problem_S, return_inverse=True)
        self.n_problems = int(self._problem_S.max()) + 1
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(
            self.n_problems, np.full(self.n_problems, 1 / self.n_problems), size=n_resamples
        )
        self._draws_RP = np.concatenate([np.ones((1, self.n_problems)), draws])
        self._known_S = steps.right_S >= 0
        kinds = np.unique(steps.right_S[self._known_S])
        self._labelled = len(kinds) == 2
        self._aurocs_R = (
            self._aurocs(_Ranked(steps.score_S)) if self._labelled else np.full(1, np.nan)
        )
        self.auroc: Estimate | None = self._estimate(self._aurocs_R) if self._labelled else None

    def change(self, changed_S: Array) -> Change:
        """Compare one scoring with the original."""
        original, changed = (
            _Ranked(np.round(score_S, _DIGITS)) for score_S in (self._steps.score_S, changed_S)
        )
        agrees_S = (self._steps.score_S > self.threshold) == (changed_S > self.threshold)
        return Change(
            difference=self._estimate(self.differences(changed_S)),
            spearman=self._estimate(
                np.array(
                    [
                        _spearman(original, changed, weight_P[self._problem_S])
                        for weight_P in self._draws_RP
                    ]
                )
            ),
            agreement=self._estimate(self._means(agrees_S)),
            auroc_change=(
                self._estimate(self._aurocs(_Ranked(changed_S)) - self._aurocs_R)
                if self._labelled
                else None
            ),
        )

    def share_kept(self, changed_S: Array, ablated_S: Array) -> Estimate | None:
        """Return 1 less the mean change as a share of that of an ablation;

        None where the ablation changes nothing.
        """
        ablated_R = self.differences(ablated_S)
        return (
            self._estimate(
                1 - self.differences(changed_S) / np.where(ablated_R > 0, ablated_R, np.nan)
            )
            if ablated_R[0] > 0
            else None
        )

    def differences(self, changed_S: Array) -> Array:
        """Return the mean absolute change in each resample."""
        return self._means(np.abs(changed_S - self._steps.score_S))

    def _means(self, value_S: Array) -> Array:
        sums_P = np.bincount(
            self._problem_S, weights=value_S.astype(np.float64), minlength=self.n_problems
        )
        return (
            self._draws_RP
            @ sums_P
            / (self._draws_RP @ np.bincount(self._problem_S, minlength=self.n_problems))
        )

    def _aurocs(self, ranked: "_Ranked") -> Array:
        known_S = self._known_S
        right_S = (self._steps.right_S == 1).astype(np.float64)
        found = []
        for weight_P in self._draws_RP:
            weight_S = weight_P[self._problem_S] * known_S
            n_right = float(weight_S @ right_S)
            pairs = n_right * (float(weight_S.sum()) - n_right)
            rank_sum = float((weight_S * right_S) @ ranked.ranks(weight_S))
            found.append((rank_sum - n_right * (n_right + 1) / 2) / pairs if pairs else np.nan)
        return np.array(found)

    def _estimate(self, value_R: Array) -> Estimate:
        drawn_R = value_R[1:][np.isfinite(value_R[1:])]
        low, high = (
            np.quantile(drawn_R, [0.025, 0.975]) if len(drawn_R) else (value_R[0], value_R[0])
        )
        return Estimate(
            value=float(value_R[0]), low=float(low), high=float(high), n=self.n_problems
        )


class _Ranked:
    """Values sorted once; their ranks follow for any whole weights, as if each row were there that
    many times.
    """

    def __init__(self, value_S: Array) -> None:
        self._sorted_V, self._place_S = np.unique(value_S, return_inverse=True)

    def ranks(self, weight_S: Array) -> Array:
        """Return ranks from 1; equal values share their mean rank."""
        count_V = np.bincount(self._place_S, weights=weight_S, minlength=len(self._sorted_V))
        return (np.cumsum(count_V) - (count_V - 1) / 2)[self._place_S]


def _spearman(a: _Ranked, b: _Ranked, weight_S: Array) -> float:
    """Return the rank correlation of weighted rows; 0 where one side is constant."""
    a_S, b_S = (ranked.ranks(weight_S) for ranked in (a, b))
    total = weight_S.sum()
    a_S, b_S = a_S - weight_S @ a_S / total, b_S - weight_S @ b_S / total
    spread = float(np.sqrt((weight_S @ a_S**2) * (weight_S @ b_S**2)))
    return float(weight_S @ (a_S * b_S)) / spread if spread > 1e-9 * total else 0.0
