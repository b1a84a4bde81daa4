"""An effect beside those of its controls, and many effects at once."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rewardscope.interventions.outcomes import Measure, Outcomes, margin_scale
from rewardscope.records import Estimate
from rewardscope.statistics.measures import Measured, average
from rewardscope.statistics.simultaneous import chance, chance_of_many, simultaneous


class Against(NamedTuple):
    """A change beside the changes by its controls, one a draw.

    control_low, control_high: 2.5 % and 97.5 % of the controls' changes. margin: above their mean,
    with an interval over problems. chance: that one of equals is at least as far from 0; and of
    many: that the largest of as many is.
    """

    change: Estimate
    n_controls: int
    control: float | None = None
    control_low: float | None = None
    control_high: float | None = None
    margin: Estimate | None = None
    chance: float | None = None
    chance_of_many: float | None = None


def against_controls(
    outcomes: Outcomes,
    measure: Measure,
    own: Mapping[str, Measured],
    controls: Mapping[str, Sequence[Measured]],
    *,
    seed: int,
) -> dict[str, Against]:
    """Return each change beside its controls.

    The intervals of the margins hold for all that are given at once, so that the largest of them
    may be named; what stands alone is given alone.
    """
    with_controls = {name: each for name, each in own.items() if controls.get(name)}
    margins = simultaneous(
        {name: each - average(controls[name]) for name, each in with_controls.items()},
        outcomes.draws(measure),
        scale=margin_scale(measure),
    )
    values = {name: [each.value for each in controls[name]] for name in with_controls}
    many = chance_of_many({n: each.value for n, each in with_controls.items()}, values)
    found = {}
    for name, each in own.items():
        change = outcomes.estimate(measure, each, seed=seed)
        if name not in with_controls:
            found[name] = Against(change, 0)
            continue
        low, high = np.quantile(values[name], [0.025, 0.975]).tolist()
        found[name] = Against(
            change,
            len(values[name]),
            control=float(np.mean(values[name])),
            control_low=low,
            control_high=high,
            margin=margins[name],
            chance=chance(each.value, values[name]),
            chance_of_many=many[name],
        )
    return found
