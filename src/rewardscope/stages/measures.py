"""What `metrics` computes of a generations file: one number a problem, and the mean over problems
with its interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rewardscope.records import Cost, Estimate, SolvedProblem
from rewardscope.stages.votes import (
    Judged,
    best_of,
    majority,
    pass_at_k,
    powers_up_to,
    subsets,
    weighted,
)

VOTES = {"majority": majority, "weighted": weighted, "best_of": best_of}
COSTS = Cost.__struct_fields__


def estimated(values: Mapping[str, Sequence[float]], *, seed: int) -> dict[str, Estimate]:
    """Return the mean over problems of each list of shares, with its interval.

    One kind of interval at every k of a method: where some of its k give fractions, that of
    fractions also at k = n, where each problem is right or wrong.
    """
    method = {name: name.partition("@")[0] for name in values}
    fractions = {method[name] for name, some in values.items() if not {*some} <= {0.0, 1.0}}
    return {
        name: share(per_problem, seed=seed, as_fractions=method[name] in fractions)
        for name, per_problem in values.items()
    }


def share(values: Sequence[float], *, seed: int, as_fractions: bool = False) -> Estimate:
    """Return the mean of one share a problem, with Wilson's interval; `as_fractions` is that of
    fractions, whatever the values are.
    """
    import numpy as np

    from rewardscope.statistics import intervals
    from rewardscope.statistics.draws import draw

    draws = draw(np.arange(len(values)), seed=seed)
    return intervals.share(values, draws, as_fractions=as_fractions)


def amount(values: Sequence[float], *, seed: int) -> Estimate:
    """Return the mean of one number a problem, such as a cost, with its interval."""
    import numpy as np

    from rewardscope.statistics.draws import draw
    from rewardscope.statistics.intervals import AMOUNT, PLAIN, interval
    from rewardscope.statistics.measures import mean

    draws = draw(np.arange(len(values)), seed=seed)
    measured = mean(np.asarray(values, dtype=np.float64), draws)
    return interval(measured, draws, scale=AMOUNT if min(values) >= 0 else PLAIN)


def paired(values: Sequence[float], others: Sequence[float], *, seed: int) -> Estimate:
    """Return how far one method's share is above another's, from one share a problem of each."""
    from rewardscope.statistics.intervals import paired_share

    return paired_share([a - b for a, b in zip(values, others, strict=True)], seed=seed)


def of_traces(
    solved: Sequence[SolvedProblem], judged: Sequence[Judged], *, seed: int
) -> dict[str, Estimate]:
    """Return what does not depend on the grading."""
    shares = {
        "unanswered": [each.groups.count(None) / len(each.groups) for each in judged],
        "unjudged": [each.correct.count(None) / len(each.correct) for each in judged],
        "truncated": [
            sum(trace.finish == "length" for trace in row.traces) / len(row.traces)
            for row in solved
        ],
    }
    known = [
        [trace.n_tokens for trace in row.traces if trace.n_tokens is not None] for row in solved
    ]
    amounts = {
        "mean_tokens": [math.fsum(tokens) / len(tokens) for tokens in known if tokens],
        "mean_steps": [
            math.fsum(len(trace.steps) for trace in row.traces) / len(row.traces) for row in solved
        ],
    }
    return estimated(shares, seed=seed) | {
        name: amount(values, seed=seed) for name, values in amounts.items() if values
    }


def verdict_values(
    solved: Sequence[SolvedProblem], judged: Sequence[Judged], *, seed: int, scored: bool
) -> dict[str, list[float]]:
    """Return, for every problem in order, what depends on the grading: accuracies, and what votes
    at k reach.
    """
    methods = VOTES if scored else {"majority": majority}
    values: dict[str, list[float]] = {
        "accuracy": [
            float(each.correct[row.chosen] is True)
            for row, each in zip(solved, judged, strict=True)
        ],
        "mean_accuracy": [each.correct.count(True) / len(each.correct) for each in judged],
    }
    sizes = powers_up_to(min(len(each.correct) for each in judged))
    for k in sizes:
        values[f"pass@{k}"] = [
            pass_at_k(len(each.correct), each.correct.count(True), k=k) for each in judged
        ]
    for name, method in methods.items():
        for k in sizes:
            drawn = [
                subsets(len(each.correct), k, seed=f"{seed}-{row.problem.id}")
                for row, each in zip(solved, judged, strict=True)
            ]
            values[f"{name}@{k}"] = [
                math.fsum(method(each, subset) for subset in some) / len(some)
                for each, some in zip(judged, drawn, strict=True)
            ]
    return values


def of_costs(solved: Sequence[SolvedProblem], *, seed: int) -> dict[str, Estimate]:
    """Return the mean cost of a problem, part by part; parts that are nothing everywhere are left
    out.
    """
    amounts = {name: [float(getattr(row.cost, name)) for row in solved] for name in COSTS}
    return {name: amount(values, seed=seed) for name, values in amounts.items() if any(values)}


def of_windows(
    solved: Sequence[SolvedProblem], judged: Sequence[Judged], *, seed: int
) -> dict[str, Any]:
    """Return what the traces within and beyond the PRM's window are like: their number, accuracy
    and mean score.
    """
    found: dict[str, Any] = {}
    for name, within in (("within", True), ("beyond", False)):
        problems = [
            [
                i
                for i, trace in enumerate(row.traces)
                if trace.in_window is within and each.scores[i] is not None
            ]
            for row, each in zip(solved, judged, strict=True)
        ]
        chosen = [(each, some) for each, some in zip(judged, problems, strict=True) if some]
        if chosen:
            right = [
                sum(each.correct[i] is True for i in some) / len(some) for each, some in chosen
            ]
            score = [
                math.fsum(each.scores[i] or 0.0 for i in some) / len(some) for each, some in chosen
            ]
            found[name] = {
                "traces": sum(map(len, problems)),
                "mean_accuracy": asdict(share(right, seed=seed)),
                "mean_score": asdict(amount(score, seed=seed)),
            }
    return found
