"""Several quantities at once: intervals that hold for all of them together, and chances that allow
for having looked at many.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from rewardscope.records import Estimate
from rewardscope.statistics.draws import Draws
from rewardscope.statistics.intervals import MIN_PROBLEMS, PLAIN, Scale, interval, spreads
from rewardscope.statistics.measures import Measured

# Shape legend: U units, R resamples, K quantities.


def simultaneous(
    measured: Mapping[str, Measured],
    draws: Draws,
    *,
    scale: Scale = PLAIN,
    min_problems: int = MIN_PROBLEMS,
) -> dict[str, Estimate]:
    """Return intervals that hold for all quantities at once, so that the largest may be named.

    Each is as wide, in its own standard errors, as the largest studentised deviation of all says;
    it is never narrower than the interval of the quantity alone. Source: Romano and Wolf 2005.
    """
    found = {
        name: interval(each, draws, scale=scale, min_problems=min_problems)
        for name, each in measured.items()
    }
    bounded = [name for name, each in found.items() if each.low is not None]
    if len(bounded) < 2:
        return found
    without_UK = np.stack([measured[name].without_U for name in bounded], axis=1)
    spread = spreads(without_UK, draws)
    largest_R = np.abs(spread.deviation_RK).max(axis=1)
    reach = float(np.quantile(largest_R, 0.95, method="weibull"))
    for name, error in zip(bounded, spread.error_K.tolist(), strict=True):
        alone = found[name]
        assert alone.low is not None and alone.high is not None
        found[name] = Estimate(
            value=alone.value,
            low=max(min(alone.low, alone.value - reach * error), scale.least),
            high=min(max(alone.high, alone.value + reach * error), scale.most),
            n=alone.n,
        )
    return found


def chance(own: float, controls: Sequence[float]) -> float:
    """Return how likely one of equals is at least as far from 0 as `own`, which counts as one of
    them: at least 1 / (n + 1).
    """
    further = sum(abs(other) >= abs(own) for other in controls)
    return (1 + further) / (1 + len(controls))


def chance_of_many(
    own: Mapping[str, float], controls: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Return the same for each of several quantities, against the largest of all in each draw of
    the controls: where the best is named, that is its chance.

    Source: Westfall and Young 1993 (the maximum over the hypotheses).
    """
    n_draws = min((len(controls[name]) for name in own), default=0)
    largest = [max(abs(controls[name][draw]) for name in own) for draw in range(n_draws)]
    return {name: chance(value, largest) for name, value in own.items()}
