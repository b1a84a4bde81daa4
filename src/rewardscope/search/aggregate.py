"""Turn the scores of a solution's steps into one number."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

Aggregation = Literal["last", "min", "prod", "mean"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

_FUNCTIONS: dict[Aggregation, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "prod": math.prod,
    "mean": lambda scores: math.fsum(scores) / len(scores),
}


def aggregate(scores: Sequence[float], how: Aggregation) -> float:
    """Return one number for at least one step score."""
    assert scores, "no scores to aggregate"
    return float(_FUNCTIONS[how](scores))
