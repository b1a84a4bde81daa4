"""95 % intervals over problems that cover: see `docs/methods.md`, and `docs/results.md` for how
often each holds the truth.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from rewardscope.records import Estimate
from rewardscope.statistics.draws import Array, Draws, draw
from rewardscope.statistics.measures import Measured, mean

# Shape legend: N rows, P problems, U units, R resamples, K quantities.
Z_95 = 1.959963984540054  # the normal quantile at 0.975
MIN_PROBLEMS = 10
MIN_PAIRED = 5
MIN_CLASS = 3  # problems with rows of a class
MIN_DIFFERENT = 5  # problems that differ, for a mean of differences that are mostly 0
_WIDEST = 3.0  # a resample with next to no spread counts as this many of Student's quantiles


class Scale(NamedTuple):
    """On which scale an interval is symmetric, and the bounds of the quantity."""

    to: Callable[[Array], Array]
    back: Callable[[float], float]
    least: float = -math.inf
    most: float = math.inf


def _same(value: Any) -> Any:
    return value


PLAIN = Scale(_same, _same)
AMOUNT = Scale(_same, _same, least=0.0)
UNIT = Scale(_same, _same, least=0.0, most=1.0)
EXPLAINED = Scale(_same, _same, most=1.0)
DIFFERENCE = Scale(_same, _same, least=-1.0, most=1.0)  # of two shares
CORRELATION = Scale(np.arctanh, math.tanh, least=-1.0, most=1.0)  # Fisher 1921


def interval(
    measured: Measured, draws: Draws, *, scale: Scale = PLAIN, min_problems: int = MIN_PROBLEMS
) -> Estimate:
    """Return the value with its interval: the wider, at each end, of Student's t and of the
    bootstrap-t of the values without each problem.

    No bounds with fewer than `min_problems`, where nothing varies, or where one problem decides
    whether there is a value at all. Source: Efron and Tibshirani 1993, sections 11 and 12.5.
    """
    none = Estimate(value=measured.value, low=None, high=None, n=measured.n)
    if measured.n < min_problems or not math.isfinite(measured.value):
        return none
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = float(scale.to(np.array(measured.value)))
        without_U1 = scale.to(measured.without_U)[:, None]
    if not (math.isfinite(centre) and np.isfinite(without_U1).all()):
        return none
    spread = spreads(without_U1, draws)
    if not spread.error_K[0] > 1e-13 * max(1e-3, abs(centre)):
        return none
    ends = sorted(
        scale.back(centre - float(step[0]) * float(spread.error_K[0]))
        for step in (spread.upper_K, spread.lower_K)
    )
    low, high = (min(max(end, scale.least), scale.most) for end in ends)
    return Estimate(
        value=measured.value,
        low=min(low, measured.value),
        high=max(high, measured.value),
        n=measured.n,
    )


class Spread(NamedTuple):
    """Of quantities on the same problems: standard errors, and the quantiles of their studentised
    deviations, `lower_K` below 0 and `upper_K` above.
    """

    error_K: Array
    lower_K: Array
    upper_K: Array
    deviation_RK: Array


def spreads(without_UK: NDArray, draws: Draws, *, n: int | None = None) -> Spread:
    """Return how far quantities are from the truth, in standard errors, from their values without
    each unit. `n` counts the units behind them where it is not all.

    The interval of a quantity ends at value - upper * error and value - lower * error.
    """
    units = draws.n_units
    # how far each unit pulls the value: the jackknife's, in the type of what is given
    pull_UK = (without_UK.mean(axis=0) - without_UK) * ((units - 1) / units)
    widen = units / (units - 1)
    error_K = np.sqrt((pull_UK**2).sum(axis=0) * widen)
    weight_RU = draws.weight_RU.astype(without_UK.dtype, copy=False)
    total_RK = weight_RU @ pull_UK
    spread_RK = weight_RU @ pull_UK**2
    spread_RK -= total_RK**2 / units
    spread_RK *= widen
    student = float(stdtrit((n or units) - 1, 0.975))
    with np.errstate(invalid="ignore", divide="ignore"):
        total_RK /= np.sqrt(np.maximum(spread_RK, 0, out=spread_RK), out=spread_RK)
    limit = _WIDEST * student
    deviation_RK = np.clip(np.nan_to_num(total_RK, nan=0.0, copy=False), -limit, limit)
    lower_K, upper_K = np.quantile(deviation_RK, [0.025, 0.975], axis=0, method="weibull")
    return Spread(
        error_K, np.minimum(lower_K, -student), np.maximum(upper_K, student), deviation_RK
    )


def wilson(successes: int, n: int) -> Estimate:
    """Return the share `successes / n` of independent trials with its Wilson score interval.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001 eq. 4.
    """
    assert 0 <= successes <= n and n > 0, (successes, n)
    low, high = _score_ends(successes / n, n, Z_95)
    return Estimate(value=successes / n, low=low, high=high, n=n)


def of_trials(successes: int, n: int) -> Estimate:
    """Return the share of independent trials with the wider, at each end, of Wilson's and of
    Jeffreys' interval: of few trials either alone misses some rare shares.

    Source: Brown, Cai and DasGupta 2001.
    """
    found, wrong = wilson(successes, n), n - successes
    assert found.low is not None and found.high is not None
    low, high = (float(betaincinv(successes + 0.5, wrong + 0.5, end)) for end in (0.025, 0.975))
    return Estimate(
        value=found.value,
        low=min(found.low, low) if successes else 0.0,
        high=max(found.high, high) if wrong else 1.0,
        n=n,
    )


def share(
    right_N: NDArray | Sequence[float], draws: Draws, *, as_fractions: bool = False
) -> Estimate:
    """Return the mean of rows between 0 and 1, with Wilson's interval at the effective number of
    rows: as many independent ones as would vary as much as these problems do.

    One row a problem, each 0 or 1: that of trials, unless the share stands in one column with
    others of fractions (`as_fractions`). Where all rows are equal each problem counts once.
    Sources: Wilson 1927; Korn and Graubard 1998; Dean and Pagano 2015.
    """
    right_N = np.asarray(right_N, dtype=np.float64)
    n = draws.n_problems
    if not as_fractions and len(right_N) == n and np.isin(right_N, (0, 1)).all():
        return of_trials(round(right_N.sum()), n)
    return bounded(mean(right_N, draws), draws, alone=n)


def bounded(measured: Measured, draws: Draws, *, alone: int, skewed: bool = False) -> Estimate:
    """Return a value from 0 to 1 with Wilson's interval at the number of trials that would vary as
    much; `alone` is that number where nothing varies.

    `skewed`: each end is at least as many standard errors away as the bootstrap-t says.
    """
    value, n = measured.value, measured.n
    none = Estimate(value=value, low=None, high=None, n=n)
    if not np.isfinite(measured.without_U).all() or n < 2 or alone < 2:
        return none
    units = draws.n_units
    value = min(max(value, 0.0), 1.0)
    variance = float(
        ((measured.without_U - measured.without_U.mean()) ** 2).sum() * (units - 1) / units
    )
    below = above = float(stdtrit(units - 1, 0.975))
    if variance <= 1e-18:
        if 0 < value < 1:
            return none
        effective = float(alone)
    else:
        effective = value * (1 - value) / variance
        if skewed:
            spread = spreads(measured.without_U[:, None], draws)
            below, above = float(spread.upper_K[0]), -float(spread.lower_K[0])
    low, high = (_score_ends(value, effective, z)[end] for end, z in enumerate((below, above)))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def auroc_estimate(measured: Measured, positive_N: NDArray, draws: Draws) -> Estimate:
    """Return an AUROC with its interval, as a share of pairs. Where all pairs are in order, the
    problems of the class that fewer problems have count once each.
    """
    sides = (positive_N > 0.5, positive_N <= 0.5)
    alone = min(len(np.unique(draws.problem_N[side_N])) for side_N in sides)
    if alone < MIN_CLASS:
        return Estimate(value=measured.value, low=None, high=None, n=measured.n)
    # Near 1 a few pairs decide, and the value is most often too high.
    return bounded(measured, draws, alone=alone, skewed=True)


def paired_share(difference_P: NDArray | Sequence[float], *, seed: int) -> Estimate:
    """Return the mean difference of two methods' shares, one difference in [-1, 1] a problem.

    Where each problem is won, lost or equal, and where fewer than `MIN_DIFFERENT` problems differ:
    Bonett and Price's interval, which counts one more problem won and one more lost, so that it has
    a width also where none differs. Sources: Agresti and Min 2005; Bonett and Price 2012.
    """
    difference_P = np.asarray(difference_P, dtype=np.float64)
    n, n_different = len(difference_P), np.count_nonzero(difference_P)
    if n_different >= MIN_DIFFERENT and not np.isin(difference_P, (-1, 0, 1)).all():
        draws = draw(np.arange(n), seed=seed)
        return interval(mean(difference_P, draws), draws, scale=DIFFERENCE)
    value = float(difference_P.mean())
    if n < MIN_PAIRED:
        return Estimate(value=value, low=None, high=None, n=n)
    smoothed = float(difference_P.sum()) / (n + 2)
    variance = (float((difference_P**2).sum()) + 2) / (n + 2) - smoothed**2
    half = Z_95 * math.sqrt(variance / (n + 2))
    low, high = max(-1.0, smoothed - half), min(1.0, smoothed + half)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def _score_ends(share: float, n: float, z: float) -> tuple[float, float]:
    shrunk = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / shrunk
    half = z / shrunk * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At 0 and at 1 the interval ends exactly there; rounding must not say otherwise.
    return 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half
