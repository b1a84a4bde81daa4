"""How far two PRMs, or two policies, are apart on the problems of the trace viewer."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

from rewardscope.dashboard.text_store import short
from rewardscope.dashboard.trace_data import Shown, Viewed


class Side(NamedTuple):
    """One of the two that are compared: a source's traces, with the scores that `name` gave them
    there; "" for the scores of its own PRM.
    """

    source: int
    name: str


class Apart(NamedTuple):
    """How far two sides are apart on a problem.

    Where PRMs scored the same traces, `value` is the mean distance of two scores over their `n`
    steps; else it is the difference of the shares of right traces, of `n` traces.
    """

    first: int
    second: int
    value: float
    n: int
    same_traces: bool


def find_sides(problems: Sequence[Viewed]) -> list[Side]:
    """Return every source that has traces, and every scorer beside its own."""
    traces = [trace for problem in problems for trace in problem.traces]
    found = {Side(trace.source, "") for trace in traces}
    found |= {Side(scores.source, scores.name) for trace in traces for scores in trace.scores}
    return sorted(found)


def apart(problem: Viewed, sides: Sequence[Side]) -> list[Apart]:
    """Return how far each pair of sides is apart on a problem, where that is known."""
    found = []
    for first, second in combinations(range(len(sides)), 2):
        one, other = sides[first], sides[second]
        both = [
            distance
            for trace in problem.traces
            if (a := _scores(trace, one)) is not None and (b := _scores(trace, other)) is not None
            for distance in map(_distance, a, b)
        ]
        if both:
            found.append(Apart(first, second, short(sum(both) / len(both)), len(both), True))
        elif one.source != other.source:
            (right, n), (right_other, n_other) = (_graded(problem, side) for side in (one, other))
            if n and n_other:
                value = abs(right / n - right_other / n_other)
                found.append(Apart(first, second, short(value), n + n_other, False))
    return found


def compared(problems: Sequence[Viewed]) -> dict[str, Any]:
    """Return the sides, and of each problem its pairs; nothing with one side only."""
    sides = find_sides(problems)
    if len(sides) < 2:
        return {"sides": [], "apart": []}
    return {"sides": sides, "apart": [apart(problem, sides) for problem in problems]}


def _scores(trace: Shown, side: Side) -> list[float] | None:
    wanted = (one.values for one in trace.scores if (one.source, one.name) == side)
    return next(wanted, None)


def _distance(one: float, other: float) -> float:
    return abs(one - other)


def _graded(problem: Viewed, side: Side) -> tuple[int, int]:
    """Return how many traces of a source are right, and how many are graded."""
    own = [
        trace.correct
        for trace in problem.traces
        if trace.correct is not None
        and side.source in (trace.source, *(one.source for one in trace.scores))
    ]
    return sum(own), len(own)
