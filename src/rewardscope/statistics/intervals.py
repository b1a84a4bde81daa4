"""Numbers with intervals:

Wilson for a proportion, the percentile bootstrap over problems for everything else.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rewardscope.records import Estimate

Z_95 = 1.959963984540054  # the normal quantile at 0.975

Statistic = Callable[[Any], float]


def wilson(successes: int, n: int) -> Estimate:
    """Return the share `successes / n` with its Wilson score interval.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001 eq. 4.
    """
    assert 0 <= successes <= n and n > 0, (successes, n)
    share = successes / n
    shrunk = 1 + Z_95**2 / n
    centre = (share + Z_95**2 / (2 * n)) / shrunk
    half = Z_95 / shrunk * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    # At 0 and at n the interval ends exactly at 0 and at 1; rounding must not say otherwise.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(value=share, low=low, high=high, n=n)


def bootstrap(
    values_per_problem: np.ndarray | Sequence[Any],
    statistic: Statistic,
    *,
    seed: int,
    n_resamples: int = 1000,
) -> Estimate:
    """Return `statistic` of all problems with the percentile interval over resamples of problems,
    drawn with replacement.

    One entry a problem: a number, a row of an array, or a group of rows of any length (a problem's
    rows then stay together). `statistic` gets the drawn entries, an array where an array was given,
    else a list. A resample in which it is undefined (not finite) is left out. Raises: ValueError
    where it is undefined on all problems.
    """
    return _percentile(values_per_problem, statistic, seed=seed, n_resamples=n_resamples)


def bootstrap_difference(
    values_a: np.ndarray | Sequence[Any],
    values_b: np.ndarray | Sequence[Any],
    statistic: Statistic,
    *,
    seed: int,
    n_resamples: int = 1000,
) -> Estimate:
    """Return `statistic(a) - statistic(b)` of two methods on the same problems, entry by entry,
    resampled together.

    As `bootstrap` otherwise. Pairing removes the spread that comes from the problems' difficulty.
    """
    pairs = list(zip(values_a, values_b, strict=True))

    def difference(drawn: list[tuple[Any, Any]]) -> float:
        return float(statistic([a for a, _ in drawn])) - float(statistic([b for _, b in drawn]))

    return _percentile(pairs, difference, seed=seed, n_resamples=n_resamples)


def _percentile(
    entries: np.ndarray | Sequence[Any], statistic: Statistic, *, seed: int, n_resamples: int
) -> Estimate:
    n = len(entries)
    assert n > 0 and n_resamples > 0, (n, n_resamples)
    value = float(statistic(entries))
    if not math.isfinite(value):
        raise ValueError(f"the statistic is {value} on all {n} problems")
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [float(statistic(_take(entries, rng.integers(n, size=n)))) for _ in range(n_resamples)]
    )
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (value, value)
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def _take(entries: np.ndarray | Sequence[Any], positions: np.ndarray) -> Any:
    return (
        entries[positions] if isinstance(entries, np.ndarray) else [entries[i] for i in positions]
    )
