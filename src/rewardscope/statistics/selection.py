"""Intervals where the best of several was chosen: it looks better than it is, and so smaller the
lead over it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rewardscope.records import Estimate
from rewardscope.statistics.draws import Draws
from rewardscope.statistics.intervals import spreads
from rewardscope.statistics.measures import Measured

# Shape legend: U units, R resamples, K quantities.
MIN_SELECTED = 15  # problems


def lead(
    own: Measured, others: Mapping[str, Measured], draws: Draws, *, min_problems: int = MIN_SELECTED
) -> tuple[str, Estimate]:
    """Return the best of the others by name, and how far `own` is above it.

    The interval is of the lead over the truly best of them, whichever that is. Sources: Berger 1982
    (the low end is below the lead over each of them); Romano and Wolf 2005 (the high end, from the
    extremes of the studentised deviations of all).
    """
    best = max(others, key=lambda name: others[name].value)
    return best, _least([own - other for other in others.values()], draws, min_problems)


def best_of(
    measured: Mapping[str, Measured], draws: Draws, *, min_problems: int = MIN_SELECTED
) -> tuple[str, Estimate]:
    """Return the name of the largest quantity, and the interval of the truly largest.

    The low end allows for the choice. Sources as of `lead`.
    """
    best = max(measured, key=lambda name: measured[name].value)
    found = _least([-each for each in measured.values()], draws, min_problems)
    low, high = (None if end is None else -end for end in (found.high, found.low))
    return best, Estimate(value=-found.value, low=low, high=high, n=found.n)


def _least(measured: Sequence[Measured], draws: Draws, min_problems: int) -> Estimate:
    """Return the least of several quantities with the interval of the truly least.

    The truly least is above the lowest of the low ends, and below each high end that holds for all
    at once: those come from the most negative studentised deviation in each resample. None where
    an end is that of a quantity that does not vary, which would pass for certain.
    """
    value_K = np.array([each.value for each in measured])
    none = Estimate(value=float(value_K.min()), low=None, high=None, n=measured[0].n)
    without_UK = np.stack([each.without_U for each in measured], axis=1)
    if none.n < min_problems or not np.isfinite(without_UK).all():
        return none
    spread = spreads(without_UK, draws)
    varies_K = spread.error_K > 1e-12
    if not varies_K.any():
        return none
    deviation_RK, floor_K = spread.deviation_RK[:, varies_K], spread.lower_K[varies_K]
    # Each quantity's deviations reach as far as its own interval, which is not below Student's t.
    drawn_K = np.quantile(deviation_RK, 0.025, axis=0, method="weibull")
    stretched_RK = deviation_RK * np.divide(
        floor_K, drawn_K, out=np.ones_like(floor_K), where=drawn_K < 0
    )
    extreme_R = stretched_RK.min(axis=1)
    lower_K = np.minimum(spread.lower_K, np.quantile(extreme_R, 0.025, method="weibull"))
    low_K, high_K = (value_K - step_K * spread.error_K for step_K in (spread.upper_K, lower_K))
    if not (varies_K[low_K.argmin()] and varies_K[high_K.argmin()]):
        return none
    low, high = float(min(low_K.min(), none.value)), float(max(high_K.min(), none.value))
    return Estimate(value=none.value, low=low, high=high, n=none.n)
