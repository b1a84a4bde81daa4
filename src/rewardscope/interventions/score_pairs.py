"""How a PRM's scores move from right solutions to edited ones: by rule, and how far the rules that
keep a solution right and those that break it are apart.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from rewardscope.records import Estimate
from rewardscope.statistics.draws import Array, Draws, draw
from rewardscope.statistics.effects import Effect, Place, measured_effect
from rewardscope.statistics.intervals import (
    AMOUNT,
    MIN_CLASS,
    PLAIN,
    auroc_estimate,
    interval,
    share,
)
from rewardscope.statistics.measures import auroc_measure, mean, of_sums

# Shape legend: N pairs.
Reading = Literal["at", "min", "final"]
"""Which score of a solution is read: that at the edited step, the least, or the last."""
READINGS: tuple[Reading, ...] = get_args(Reading)


class ScoredPair(NamedTuple):
    """The scores of a right solution and of the edited one."""

    problem: str
    original: Sequence[float]
    edited: Sequence[float]
    ends: Sequence[int | None]
    """Of each edited step the original one at whose end it ends."""
    at: int
    """The edited step."""

    def read(self, reading: Reading) -> tuple[float, float]:
        """Return what is read of the original and of the edited solution."""
        if reading == "at":
            place = self.ends[self.at]
            assert place is not None, self
            return self.original[place], self.edited[self.at]
        if reading == "min":
            return min(self.original), min(self.edited)
        return self.original[-1], self.edited[-1]


class Shift(NamedTuple):
    """How scores moved over the pairs of one rule, with intervals over problems.

    original: mean score. change: mean of edited less original. size: mean of its absolute value.
    above: share of pairs whose right solution scores above the edited one, ties half.
    """

    n_pairs: int
    original: float
    change: Estimate
    size: Estimate
    above: Estimate


def shift_of(pairs: Sequence[ScoredPair], reading: Reading, *, seed: int) -> Shift:
    """Return how the scores of at least one pair moved."""
    before_N, after_N = np.array([pair.read(reading) for pair in pairs], dtype=np.float64).T
    change_N, draws = after_N - before_N, _draws(pairs, seed)
    return Shift(
        n_pairs=len(pairs),
        original=float(before_N.mean()),
        change=interval(mean(change_N, draws), draws, scale=PLAIN),
        size=interval(mean(np.abs(change_N), draws), draws, scale=AMOUNT),
        above=share((change_N < 0) + (change_N == 0) / 2, draws),
    )


def effect_of(
    pairs: Sequence[ScoredPair], reading: Reading, *, component: str, site: str, seed: int
) -> Effect:
    """Return the mean change over problems, a problem's being the mean over its pairs."""
    by_problem: dict[str, list[float]] = {}
    for pair in pairs:
        before, after = pair.read(reading)
        by_problem.setdefault(pair.problem, []).append(after - before)
    values = {problem: float(np.mean(changes)) for problem, changes in by_problem.items()}
    return measured_effect(
        Place(component, site, reading), values, method="perturb", seed=seed, scale=PLAIN
    )


class Separation(NamedTuple):
    """How much further scores move where a solution is broken than where it is not.

    auroc: chance that an edit that breaks a solution moves its score further than one that does
    not. difference: of the mean sizes of change, in standard deviations of all (Cohen's d). None
    where there are too few problems of a kind.
    """

    n_changing: int
    n_preserving: int
    auroc: Estimate | None
    difference: Estimate | None


def separation(
    changing: Sequence[ScoredPair], preserving: Sequence[ScoredPair], reading: Reading, *, seed: int
) -> Separation:
    """Return how far the two kinds of edits are apart, with intervals over problems."""
    counts = len(changing), len(preserving)
    if min(len({pair.problem for pair in side}) for side in (changing, preserving)) < MIN_CLASS:
        return Separation(*counts, None, None)
    pairs = [*changing, *preserving]
    size_N = np.array([abs(float(np.subtract(*pair.read(reading)))) for pair in pairs])
    breaks_N = np.arange(len(pairs)) < len(changing)
    draws = _draws(pairs, seed)
    found = auroc_measure(breaks_N, size_N, draws)
    return Separation(
        *counts,
        auroc=auroc_estimate(found, breaks_N, draws),
        difference=_standardised(size_N, breaks_N, draws),
    )


def _standardised(size_N: Array, breaks_N: NDArray[np.bool_], draws: Draws) -> Estimate:
    """Return Cohen's d of two kinds of rows, their variance pooled."""
    columns = [
        column
        for kind_N in (breaks_N, ~breaks_N)
        for column in (kind_N, size_N * kind_N, size_N**2 * kind_N)
    ]

    def d(sums: Array) -> Array:
        n_1, sum_1, squares_1, n_0, sum_0, squares_0 = np.moveaxis(sums, -1, 0)
        spread = squares_1 - sum_1**2 / n_1 + squares_0 - sum_0**2 / n_0
        pooled = np.sqrt(np.maximum(spread, 0) / (n_1 + n_0 - 2))
        return (sum_1 / n_1 - sum_0 / n_0) / pooled

    return interval(of_sums(d, draws.sums(*columns), draws), draws, scale=PLAIN)


def _draws(pairs: Sequence[ScoredPair], seed: int) -> Draws:
    codes = {name: code for code, name in enumerate(dict.fromkeys(p.problem for p in pairs))}
    return draw(np.array([codes[pair.problem] for pair in pairs]), seed=seed)
