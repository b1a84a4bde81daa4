"""How far two scorings of the same steps differ, with intervals over problems."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.records import Estimate
from rewardscope.statistics.draws import Array, draw
from rewardscope.statistics.intervals import (
    AMOUNT,
    CORRELATION,
    DIFFERENCE,
    EXPLAINED,
    auroc_estimate,
    interval,
    share,
)
from rewardscope.statistics.measures import Measured, auroc_measure, mean, of_sums, spearman_measure

# Shape legend: S steps.
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
    """Compares changed scores with the original ones; every comparison is over the same
    problems.
    """

    def __init__(self, steps: Steps, *, threshold: float, seed: int) -> None:
        self._steps, self.threshold = steps, threshold
        self.draws = draw(steps.problem_S, seed=seed)
        self.n_problems = self.draws.n_problems
        self._known_S = steps.right_S >= 0
        right_S = steps.right_S[self._known_S]
        self._original, self.auroc = None, None
        if len(np.unique(right_S)) == 2:
            self._labelled = self.draws.among(self._known_S)
            self._right_S = right_S == 1
            self._original = auroc_measure(
                self._right_S, steps.score_S[self._known_S], self._labelled
            )
            self.auroc: Estimate | None = auroc_estimate(
                self._original, self._right_S, self._labelled
            )

    def change(self, changed_S: Array) -> Change:
        """Compare one scoring with the original."""
        difference_S = np.abs(changed_S - self._steps.score_S)
        agrees_S = (self._steps.score_S > self.threshold) == (changed_S > self.threshold)
        return Change(
            difference=interval(mean(difference_S, self.draws), self.draws, scale=AMOUNT),
            spearman=self._spearman(changed_S),
            agreement=share(agrees_S, self.draws),
            auroc_change=self._auroc_change(changed_S),
        )

    def _spearman(self, changed_S: Array) -> Estimate:
        """Return the rank correlation with the original; 0 without bounds where one is constant."""
        sides = [np.round(score_S, _DIGITS) for score_S in (self._steps.score_S, changed_S)]
        measured = spearman_measure(sides[0], sides[1], self.draws)
        if np.isnan(measured.value):
            return Estimate(value=0.0, low=None, high=None, n=self.n_problems)
        return interval(measured, self.draws, scale=CORRELATION)

    def _auroc_change(self, changed_S: Array) -> Estimate | None:
        if self._original is None:
            return None
        changed = auroc_measure(self._right_S, changed_S[self._known_S], self._labelled)
        return interval(changed - self._original, self._labelled, scale=DIFFERENCE)

    def share_kept(self, changed_S: Array, ablated_S: Array) -> Estimate | None:
        """Return `kept` with its interval."""
        kept = self.kept(changed_S, ablated_S)
        return None if kept is None else interval(kept, self.draws, scale=EXPLAINED)

    def kept(self, changed_S: Array, ablated_S: Array) -> Measured | None:
        """Return 1 less the mean change as a share of that of an ablation;

        None where the ablation changes nothing.
        """
        sums = self.draws.sums(
            *(np.abs(score_S - self._steps.score_S) for score_S in (changed_S, ablated_S))
        )
        if not sums[:, 1].sum() > 0:
            return None
        return of_sums(lambda s: 1 - s[..., 0] / s[..., 1], sums, self.draws)
