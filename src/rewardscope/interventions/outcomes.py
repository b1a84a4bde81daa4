"""What scores are good for, and what becomes of it when they change: step scores, finding right
steps, right steps taken for wrong, wrong ones taken for right, and choosing among traces.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from rewardscope.records import Estimate
from rewardscope.statistics.draws import Array, Draws, draw
from rewardscope.statistics.intervals import (
    AMOUNT,
    DIFFERENCE,
    PLAIN,
    Scale,
    auroc_estimate,
    interval,
    paired_share,
    share,
)
from rewardscope.statistics.measures import Measured, auroc_measure, mean

# Shape legend: N steps, P problems.
Scores = Sequence[Sequence[float]]
"""The step scores of solutions, in order."""
Measure = Literal["score", "size", "auroc", "false_positive", "false_negative", "choice"]
"""Mean change of the score, and of its absolute value, over the steps of a problem and then over
problems; AUROC of right steps; share of right steps not above the threshold, which are taken for
wrong; share of wrong ones above it; share of problems whose best trace is right.
"""
MEASURES: tuple[Measure, ...] = get_args(Measure)
SCALES: Mapping[Measure, Scale] = {
    "score": PLAIN,
    "size": AMOUNT,
    "auroc": DIFFERENCE,
    "false_positive": DIFFERENCE,
    "false_negative": DIFFERENCE,
    "choice": DIFFERENCE,
}


def margin_scale(measure: Measure) -> Scale:
    """Return the scale of a difference of two changes."""
    scale = SCALES[measure]
    return PLAIN if measure in ("score", "size") else scale._replace(least=-2.0, most=2.0)


def middle_of(score_range: tuple[float, float]) -> float:
    """Return the middle of a PRM's range, 0.5 for most families; 0 where it has no bounds."""
    low, high = score_range
    return (low + high) / 2 if math.isfinite(low) and math.isfinite(high) else 0.0


class Known(NamedTuple):
    """What is known of one solution."""

    problem: str
    right: Sequence[int]
    """Of each step: 1 right, 0 wrong, -1 unknown."""
    correct: bool | None
    """Of the final answer."""


class Outcomes:
    """Compares changed scores of the same solutions with the original ones: all comparisons are
    over the same problems and the same resamples, so that they may be subtracted.

    `measures` are those that the labels allow.
    """

    def __init__(
        self,
        known: Sequence[Known],
        original: Scores,
        *,
        threshold: float,
        aggregate: Callable[[Sequence[float]], float],
        seed: int,
    ) -> None:
        self._known, self._threshold, self._aggregate = known, threshold, aggregate
        self.problems = tuple(dict.fromkeys(one.problem for one in known))
        code = {name: number for number, name in enumerate(self.problems)}
        self._solution_P = np.array([code[one.problem] for one in known])
        self._step_problem_N = np.repeat(self._solution_P, [len(one.right) for one in known])
        self._right_N = np.concatenate([np.asarray(one.right) for one in known])
        self._original = original
        self._score_N = _flat(original)
        assert len(self._score_N) == len(self._right_N), (len(self._score_N), len(self._right_N))
        self._draws: dict[Measure, Draws] = {}
        every = draw(np.arange(len(self.problems)), seed=seed)
        self._draws["score"] = self._draws["size"] = every
        steps = draw(self._step_problem_N, seed=seed)
        right_N, wrong_N = self._right_N == 1, self._right_N == 0
        if right_N.any() and wrong_N.any():
            self._draws["auroc"] = steps.among(right_N | wrong_N)
        if right_N.any():
            self._draws["false_positive"] = steps.among(right_N)
        if wrong_N.any():
            self._draws["false_negative"] = steps.among(wrong_N)
        self._choices = self._choosable()
        if self._choices:
            self._draws["choice"] = draw(np.arange(len(self._choices)), seed=seed)
        self.measures: tuple[Measure, ...] = tuple(m for m in MEASURES if m in self._draws)
        self._chosen_P = self._right_choices(original)

    def draws(self, measure: Measure) -> Draws:
        """Return the resamples of a measure's problems."""
        return self._draws[measure]

    def original(self) -> dict[Measure, Estimate]:
        """Return what the original scores are good for; of `score` and `size` the mean score."""
        found: dict[Measure, Estimate] = {}
        for measure in self.measures:
            draws = self._draws[measure]
            if measure in ("score", "size"):
                measured = mean(self._by_problem(self._score_N), draws)
                found[measure] = interval(measured, draws, scale=PLAIN)
            elif measure == "auroc":
                right_N, score_N = self._labelled(self._score_N)
                found[measure] = auroc_estimate(
                    auroc_measure(right_N, score_N, draws), right_N, draws
                )
            elif measure == "choice":
                found[measure] = share(self._chosen_P, draws)
            else:
                found[measure] = share(self._errors(measure, self._score_N), draws)
        return found

    def changes(self, scores: Scores) -> dict[Measure, Measured]:
        """Return each measure's change, new less original."""
        score_N = _flat(scores)
        found: dict[Measure, Measured] = {}
        for measure in self.measures:
            draws = self._draws[measure]
            if measure == "score":
                change_P = self._by_problem(score_N - self._score_N)
                found[measure] = mean(change_P, draws)
            elif measure == "size":
                change_P = self._by_problem(np.abs(score_N - self._score_N))
                found[measure] = mean(change_P, draws)
            elif measure == "auroc":
                before, after = (
                    auroc_measure(*self._labelled(each_N), draws)
                    for each_N in (self._score_N, score_N)
                )
                found[measure] = after - before
            elif measure == "choice":
                found[measure] = mean(self._right_choices(scores) - self._chosen_P, draws)
            else:
                errors_N = self._errors(measure, score_N) - self._errors(measure, self._score_N)
                found[measure] = mean(errors_N, draws)
        return found

    def estimate(self, measure: Measure, measured: Measured, *, seed: int) -> Estimate:
        """Return a change with its interval over problems."""
        draws = self._draws[measure]
        if measure == "choice" and len(self._choices) <= draws.n_units:
            # a mean over problems gives each problem's value back
            n = draws.n_problems
            difference_P = n * measured.value - (n - 1) * measured.without_U
            return paired_share(np.round(difference_P, 9), seed=seed)
        return interval(measured, draws, scale=SCALES[measure])

    def margin(self, measure: Measure, difference: Measured) -> Estimate:
        """Return how far one change is above another, with its interval over problems."""
        return interval(difference, self._draws[measure], scale=margin_scale(measure))

    def by_problem(self, scores: Scores) -> dict[str, float]:
        """Return the mean change of the step scores of each problem."""
        change_P = self._by_problem(_flat(scores) - self._score_N)
        return dict(zip(self.problems, change_P.tolist(), strict=True))

    def _by_problem(self, value_N: Array) -> Array:
        """Return the mean over the steps of each problem."""
        n_steps_P = np.bincount(self._step_problem_N)
        return np.bincount(self._step_problem_N, weights=value_N) / n_steps_P

    def _labelled(self, score_N: Array) -> tuple[NDArray[np.bool_], Array]:
        known_N = self._right_N >= 0
        return self._right_N[known_N] == 1, score_N[known_N]

    def _errors(self, measure: Measure, score_N: Array) -> Array:
        """Return 1 where a step of the class is taken for one of the other."""
        above_N = score_N > self._threshold
        if measure == "false_positive":
            return (~above_N[self._right_N == 1]).astype(np.float64)
        return above_N[self._right_N == 0].astype(np.float64)

    def _choosable(self) -> list[list[int]]:
        """Return the solutions of each problem that has several with a known verdict."""
        found: dict[str, list[int]] = {}
        for place, one in enumerate(self._known):
            if one.correct is not None:
                found.setdefault(one.problem, []).append(place)
        return [places for places in found.values() if len(places) > 1]

    def _right_choices(self, scores: Scores) -> Array:
        """Return of each problem the share of right traces among those of the best score."""
        shares = []
        for places in self._choices:
            total = {place: self._aggregate(scores[place]) for place in places}
            top = max(total.values())
            best = [p for p, value in total.items() if math.isclose(value, top, rel_tol=1e-9)]
            shares.append(sum(bool(self._known[place].correct) for place in best) / len(best))
        return np.array(shares, dtype=np.float64)


def _flat(scores: Scores) -> Array:
    return np.concatenate([np.asarray(row, dtype=np.float64) for row in scores])
