"""Turn the scores of a solution's steps into one number."""

import math
import re
from collections.abc import Callable, Sequence

from rewardscope.errors import UnknownName

Aggregation = str  # a name below, or last-4: the mean of the last 4

_FUNCTIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "prod": math.prod,
    "mean": lambda scores: math.fsum(scores) / len(scores),
    "max": max,
}
AGGREGATIONS = tuple(_FUNCTIONS)
AGGREGATION_HELP = "last, min, prod, mean, max, or last-4 for the mean of the last 4"
_WINDOW = re.compile(r"last-([1-9]\d*)")


def check_aggregation(how: Aggregation) -> None:
    """Raises: UnknownName for a name that is none."""
    if how not in _FUNCTIONS and _WINDOW.fullmatch(how) is None:
        raise UnknownName("aggregation", how, (*AGGREGATIONS, "last-4"))


def aggregate(scores: Sequence[float], how: Aggregation) -> float:
    """Return one number for at least one step score.

    A window longer than the solution takes all of it.
    """
    assert scores, "no scores to aggregate"
    window = _WINDOW.fullmatch(how)
    if window is not None:
        return float(_FUNCTIONS["mean"](scores[-int(window[1]) :]))
    return float(_FUNCTIONS[how](scores))
