"""Statistics over problems: each with its value on all rows and its values without each unit.

What has sums over rows is a function of the units' sums; ranks are taken anew without each unit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardscope.statistics.draws import Array, Draws

# Shape legend: N rows, U units, K columns, D width, V different values.


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A statistic on all rows, and without each unit (NaN where it is undefined there)."""

    value: float
    without_U: Array
    n: int
    """Problems."""

    def __sub__(self, other: "Measured") -> "Measured":
        """Return the difference on the same problems."""
        assert len(self.without_U) == len(other.without_U), (self.n, other.n)
        return Measured(
            value=self.value - other.value, without_U=self.without_U - other.without_U, n=self.n
        )

    def __neg__(self) -> "Measured":
        return Measured(value=-self.value, without_U=-self.without_U, n=self.n)


def average(measured: Sequence[Measured]) -> Measured:
    """Return the mean of several statistics on the same problems."""
    return Measured(
        value=float(np.mean([each.value for each in measured])),
        without_U=np.mean([each.without_U for each in measured], axis=0),
        n=measured[0].n,
    )


def of_sums(function: Callable[[Array], Array], sums_UK: Array, draws: Draws) -> Measured:
    """Return a function of sums over problems; it maps sums [..., K] to values [...]."""
    total_K = sums_UK.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = function(np.concatenate([total_K[None], total_K - sums_UK]))
    return Measured(value=float(values[0]), without_U=values[1:], n=draws.n_problems)


def mean(value_N: NDArray, draws: Draws) -> Measured:
    """Return the mean over rows."""
    return ratio(value_N, np.ones(len(value_N)), draws)


def ratio(top_N: NDArray, bottom_N: NDArray, draws: Draws) -> Measured:
    """Return the ratio of two sums over rows."""
    return of_sums(lambda sums: sums[..., 0] / sums[..., 1], draws.sums(top_N, bottom_N), draws)


def r2_measure(target_N: Array, predicted_N: Array, draws: Draws) -> Measured:
    """Return the share of variance explained, NaN where the target does not vary."""
    centred_N = target_N - target_N.mean()  # r2 does not change, and the sums lose less to rounding
    residual_N = (target_N - predicted_N) ** 2

    def explained(sums: Array) -> Array:
        n, total, squares, residual = np.moveaxis(sums, -1, 0)
        spread = squares - total**2 / n
        return np.where(spread > 1e-12 * squares, 1 - residual / spread, np.nan)

    columns = (np.ones_like(centred_N), centred_N, centred_N**2, residual_N)
    found = of_sums(explained, draws.sums(*columns), draws)
    return Measured(value=r2(target_N, predicted_N), without_U=found.without_U, n=found.n)


def pearson_measure(a_N: Array, b_N: Array, draws: Draws) -> Measured:
    """Return the linear correlation, NaN where one side is constant."""
    a_N, b_N = a_N - a_N.mean(), b_N - b_N.mean()
    columns = (np.ones_like(a_N), a_N, b_N, a_N**2, b_N**2, a_N * b_N)
    return of_sums(_correlation, draws.sums(*columns), draws)


def _correlation(sums: Array) -> Array:
    n, a, b, aa, bb, ab = np.moveaxis(sums, -1, 0)
    spread_a, spread_b = aa - a**2 / n, bb - b**2 / n
    varies = (spread_a > 1e-12 * aa) & (spread_b > 1e-12 * bb)
    return np.where(varies, (ab - a * b / n) / np.sqrt(np.abs(spread_a * spread_b)), np.nan)


def spearman_measure(a_N: Array, b_N: Array, draws: Draws) -> Measured:
    """Return the rank correlation, NaN where one side is constant. Ranks are taken anew without
    each unit.
    """
    ranks_2N = [ranks(values) for values in (a_N, b_N)]
    others = [_RanksWithout(values, draws) for values in (a_N, b_N)]
    without = []
    for unit in range(draws.n_units):
        kept_N = draws.unit_N != unit
        sides = [
            (rank_N - each.below(unit))[kept_N]
            for rank_N, each in zip(ranks_2N, others, strict=True)
        ]
        without.append(_correlation_or_nan(*sides))
    value = _correlation_or_nan(*ranks_2N)
    return Measured(value=value, without_U=np.array(without), n=draws.n_problems)


def _correlation_or_nan(a_N: Array, b_N: Array) -> float:
    if len(a_N) < 2 or np.ptp(a_N) == 0 or np.ptp(b_N) == 0:
        return math.nan
    return pearson(a_N, b_N)


class _RanksWithout:
    """What each row's rank loses without the rows of one unit."""

    def __init__(self, value_N: Array, draws: Draws) -> None:
        self._level_N = np.unique(value_N, return_inverse=True)[1]
        self._n_levels = int(self._level_N.max()) + 1
        order = np.argsort(draws.unit_N, kind="stable")
        ends = np.bincount(draws.unit_N, minlength=draws.n_units).cumsum()[:-1]
        self._levels_U = np.split(self._level_N[order], ends)

    def below(self, unit: int) -> Array:
        """Return the unit's rows below each row, those of the same value counted half."""
        count_V = np.bincount(self._levels_U[unit], minlength=self._n_levels)
        below_V: Array = np.cumsum(count_V, dtype=np.float64) - count_V / 2
        return below_V[self._level_N]


def auroc_measure(positive_N: NDArray, score_N: Array, draws: Draws) -> Measured:
    """Return the chance that a positive row scores above a negative one, ties counted half; NaN
    where a class is missing.
    """
    positive_N = positive_N > 0.5
    won_N = _won(score_N, positive_N)
    # A unit's wins are those of its positive rows over all negatives and of all positives over its
    # negatives; wins within the unit are counted in both.
    won_U, lost_U, positive_U, negative_U = draws.sums(
        won_N * positive_N, won_N * ~positive_N, positive_N, ~positive_N
    ).T
    total, n_positive, n_negative = won_U.sum(), positive_U.sum(), negative_U.sum()
    within_U = _won_within(score_N, positive_N, draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        without_U = (total - won_U - lost_U + within_U) / (
            (n_positive - positive_U) * (n_negative - negative_U)
        )
    return Measured(value=auroc(score_N, positive_N), without_U=without_U, n=draws.n_problems)


def _won(score_N: Array, positive_N: NDArray[np.bool_]) -> Array:
    """Return, for each row, the rows of the other class that it wins (positive) or loses against
    (negative).
    """
    won_N = np.empty(len(score_N))
    for side_N, sign in ((positive_N, 1), (~positive_N, -1)):
        others = np.sort(sign * score_N[~side_N])
        mine = sign * score_N[side_N]
        below, upto = (np.searchsorted(others, mine, side=side) for side in ("left", "right"))
        won_N[side_N] = (below + upto) / 2
    return won_N


def _won_within(score_N: Array, positive_N: NDArray[np.bool_], draws: Draws) -> Array:
    """Return the wins of each unit's positive rows over its own negative ones."""
    level_N = np.unique(score_N, return_inverse=True)[1]
    n_levels = int(level_N.max()) + 1
    # Units one after the other on one scale, so that one sort serves all of them.
    place_N = draws.unit_N * n_levels + level_N
    negatives = np.sort(place_N[~positive_N])
    mine, unit = place_N[positive_N], draws.unit_N[positive_N]
    start = np.searchsorted(negatives, unit * n_levels, side="left")
    below, upto = (np.searchsorted(negatives, mine, side=side) for side in ("left", "right"))
    wins = (below + upto) / 2 - start
    wins_U = np.bincount(unit, weights=wins, minlength=draws.n_units)
    return wins_U.astype(np.float64)


def fvu_measure(sums_U3: Array, total_UD: Array, draws: Draws) -> Measured:
    """Return squared error over the squared distance to the rows' mean.

    From sums by unit: rows, squared errors, squares of the states; and the states themselves.
    """
    state_D = total_UD.sum(axis=0)
    whole = float(state_D @ state_D)
    # the squared length of the sum of states, on all rows and without each unit
    squared = np.append(whole, whole - 2 * total_UD @ state_D + (total_UD**2).sum(axis=1))
    total_3 = sums_U3.sum(axis=0)
    rows, error, squares = np.concatenate([total_3[None], total_3 - sums_U3]).T
    with np.errstate(invalid="ignore", divide="ignore"):
        left = error / (squares - squared / rows)
    return Measured(value=float(left[0]), without_U=left[1:], n=draws.n_problems)


def r2(target_N: Array, predicted_N: Array) -> float:
    """Return the share of variance explained, 1 at best; below 0 is worse than the mean.

    The target must vary.
    """
    residual = float(np.sum((target_N - predicted_N) ** 2))
    return 1 - residual / float(np.sum((target_N - target_N.mean()) ** 2))


def pearson(a_N: Array, b_N: Array) -> float:
    """Return the linear correlation, -1 to 1; 0 where one side is constant."""
    if np.ptp(a_N) == 0 or np.ptp(b_N) == 0:
        return 0.0
    a_N, b_N = a_N - a_N.mean(), b_N - b_N.mean()
    return float(np.sum(a_N * b_N) / np.sqrt(np.sum(a_N**2) * np.sum(b_N**2)))


def ranks(values_N: Array) -> Array:
    """Return ranks from 1; equal values share their mean rank."""
    _, level_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    rank_V = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(rank_V[level_N], dtype=np.float64)


def spearman(a_N: Array, b_N: Array) -> float:
    """Return the rank correlation, -1 to 1; 0 where one side is constant."""
    return pearson(ranks(a_N), ranks(b_N))


def auroc(score_N: Array, positive_N: NDArray) -> float:
    """Return the chance that a positive row (1 or True) scores above a negative one, ties counted
    half.

    NaN where a class is missing. Source: Mann and Whitney 1947, by ranks.
    """
    positive_N = positive_N > 0.5
    n_positive = int(positive_N.sum())
    pairs = n_positive * (len(positive_N) - n_positive)
    return (
        (float(ranks(score_N)[positive_N].sum()) - n_positive * (n_positive + 1) / 2) / pairs
        if pairs
        else math.nan
    )
