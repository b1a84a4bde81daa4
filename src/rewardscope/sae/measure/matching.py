"""Baselines at the L0 of an SAE: SAEs compare at equal sparsity only (arXiv 2503.09532)."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rewardscope.statistics.measures import Measured

EQUAL = 1.02  # within this factor of L0 nothing is interpolated
NEAR = 1.25  # a baseline whose L0 is within this factor stands for one of the same L0


class Matched(NamedTuple):
    """What a baseline has at the L0 of an SAE, and how that is known."""

    measured: Measured
    l0: float
    """That of the nearest baseline, or the SAE's own where two were interpolated."""
    how: Literal["nearest", "interpolated"]


def match(l0: float, baselines: Sequence[tuple[float, Measured]]) -> Matched | None:
    """Return the baselines' measure at an L0: of one that has it; else interpolated, linear in log
    L0, between the nearest on either side; else of one within a factor of `NEAR`; else None.
    """
    known = [each for each in baselines if each[0] > 0]
    if not known or l0 <= 0:
        return None
    nearest = min(known, key=lambda each: abs(math.log(each[0] / l0)))
    factor = math.exp(abs(math.log(nearest[0] / l0)))
    below = [each for each in known if each[0] < l0]
    above = [each for each in known if each[0] > l0]
    if factor > EQUAL and below and above:
        (low, first), (high, second) = max(below, key=_l0), min(above, key=_l0)
        weight = math.log(l0 / low) / math.log(high / low)
        between = Measured(
            value=first.value * (1 - weight) + second.value * weight,
            without_U=first.without_U * (1 - weight) + second.without_U * weight,
            n=first.n,
        )
        return Matched(between, l0, "interpolated")
    return Matched(nearest[1], nearest[0], "nearest") if factor <= NEAR else None


def _l0(baseline: tuple[float, Measured]) -> float:
    return baseline[0]
