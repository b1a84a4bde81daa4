"""The effect of one component by one method, problem by problem, so that methods compare on the
same problems. `storage/effect_files.py` writes and reads them.

    one = measured_effect(place, {"math/0": 0.1, "math/7": -0.2, ...}, method="zero", seed=0)
    join([one, ...], [other, ...], seed=0)             # the difference at each place, paired
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rewardscope.errors import BadRecord
from rewardscope.records import Estimate
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import PLAIN, Scale, interval
from rewardscope.statistics.measures import mean


class Place(NamedTuple):
    """What an effect is of: `component` (a head, a feature, a layer), where it is, and at which
    positions, all as text.
    """

    component: str
    site: str
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The mean effect over problems, of one seed, with the value of each problem behind it."""

    method: str
    place: Place
    estimate: Estimate
    seed: int
    values: Mapping[str, float]
    """By problem id."""


class Difference(NamedTuple):
    """How far one method's effect at a place is above another's, over the problems of both."""

    place: Place
    difference: Estimate
    left_out: int
    """Problems that only one of the two has."""


def measured_effect(
    place: Place, values: Mapping[str, float], *, method: str, seed: int, scale: Scale = PLAIN
) -> Effect:
    """Return the effect with its interval over problems.

    Raises: BadRecord where there is no problem, or a value that is no number.
    """
    where = f"effect of {place.component} by {method}"
    if not values:
        raise BadRecord(f"{where}: no problem has a value")
    wrong = {problem: value for problem, value in values.items() if not np.isfinite(value)}
    if wrong:
        problem, value = next(iter(wrong.items()))
        raise BadRecord(f"{where}: {value} for {problem} is no number; leave the problem out")
    estimate = _mean(list(values.values()), seed=seed, scale=scale)
    return Effect(method=method, place=place, estimate=estimate, seed=seed, values=dict(values))


def over_seeds(effects: Sequence[Effect]) -> dict[str, float]:
    """Return each problem's mean over the effects that have it: seeds of one method at one place.

    A problem counts once, however many of the seeds have it.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for effect in effects:
        for problem, value in effect.values.items():
            found[problem].append(value)
    return {problem: float(np.mean(values)) for problem, values in found.items()}


def join(
    first: Sequence[Effect], second: Sequence[Effect], *, seed: int, scale: Scale = PLAIN
) -> list[Difference]:
    """Return the paired difference of two methods, first less second, at each place that both have.

    Several effects at a place are seeds of the method. Raises: BadRecord where there is no common
    place, or where a common place has no common problem.
    """
    ours, theirs = _by_place(first), _by_place(second)
    common = [place for place in ours if place in theirs]
    if not common:
        raise BadRecord("the two methods have no effect at the same component, site and position")
    return [_difference(place, ours[place], theirs[place], seed, scale) for place in common]


def _difference(
    place: Place, first: Sequence[Effect], second: Sequence[Effect], seed: int, scale: Scale
) -> Difference:
    a, b = over_seeds(first), over_seeds(second)
    problems = sorted(a.keys() & b.keys())
    if not problems:
        methods = f"{first[0].method} and {second[0].method}"
        raise BadRecord(f"effects of {place.component} by {methods} have no problem in common")
    difference = _mean([a[name] - b[name] for name in problems], seed=seed, scale=scale)
    return Difference(place, difference, len(a.keys() ^ b.keys()))


def _mean(values: Sequence[float], *, seed: int, scale: Scale) -> Estimate:
    draws = draw(np.arange(len(values)), seed=seed)
    return interval(mean(np.array(values, dtype=np.float64), draws), draws, scale=scale)


def _by_place(effects: Sequence[Effect]) -> dict[Place, list[Effect]]:
    found: dict[Place, list[Effect]] = {}
    for effect in effects:
        found.setdefault(effect.place, []).append(effect)
    return found
