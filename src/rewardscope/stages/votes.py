"""What answering by a vote or by the best score gets right, on any subset of a problem's judged
traces.
"""

import itertools
import math
import random
from collections.abc import Sequence
from typing import NamedTuple

# Of k traces, for a vote at k: all subsets where there are no more than that, else some are drawn.
ENUMERATED, DRAWN = 500, 50


class Judged(NamedTuple):
    """One problem in one grading. Lists have one entry a trace."""

    correct: list[bool | None]
    """The verdict; None where it is unparsed, which counts as not right and is reported."""
    groups: list[int | None]
    """The position of the first trace with an equal answer; None without an answer."""
    scores: list[float | None]
    """The aggregated PRM score, else the reward that came with the trace; None without both."""
    weights: list[float | None]
    """The same as the weight of a vote: at least 0."""


def powers_up_to(n: int) -> list[int]:
    """Return 1, 2, 4 ... below `n`, and `n`."""
    return [2**i for i in range(n.bit_length()) if 2**i < n] + [n]


def pass_at_k(n: int, right: int, *, k: int) -> float:
    """Return the chance that k of n traces, drawn without replacement, hold a right one.

    Source: arXiv 2107.03374 eq. 1.
    """
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def subsets(n: int, k: int, *, seed: str) -> list[tuple[int, ...]]:
    """Return all k-subsets of n traces, or `DRAWN` drawn ones where they are too many."""
    if math.comb(n, k) <= ENUMERATED:
        return list(itertools.combinations(range(n), k))
    rng = random.Random(f"{seed}-{k}")
    return [tuple(rng.sample(range(n), k)) for _ in range(DRAWN)]


def majority(judged: Judged, subset: Sequence[int]) -> float:
    """Return 1 where the most frequent answer of a subset is right, 0 where not; traces without an
    answer do not vote.
    """
    return _elect(judged, [(judged.groups[i], 1.0) for i in subset])


def weighted(judged: Judged, subset: Sequence[int]) -> float:
    """Return the same for the answer with the largest sum of aggregated PRM scores."""
    return _elect(judged, [(judged.groups[i], judged.weights[i]) for i in subset])


def best_of(judged: Judged, subset: Sequence[int]) -> float:
    """Return the same for the one trace with the best aggregated PRM score, whether it has an
    answer or not.
    """
    scores = {i: score for i in subset if (score := judged.scores[i]) is not None}
    return _share_right([judged.correct[i] for i in _best(scores)])


def _elect(judged: Judged, votes: Sequence[tuple[int | None, float | None]]) -> float:
    totals: dict[int, float] = {}
    for group, weight in votes:
        if group is not None and weight is not None:
            totals[group] = totals.get(group, 0.0) + weight
    return _share_right([judged.correct[group] for group in _best(totals)])


def _best(totals: dict[int, float]) -> list[int]:
    top = max(totals.values(), default=0.0)
    return [key for key, total in totals.items() if math.isclose(total, top, rel_tol=1e-9)]


def _share_right(verdicts: Sequence[bool | None]) -> float:
    return verdicts.count(True) / len(verdicts) if verdicts else 0.0
