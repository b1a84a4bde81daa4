"""Compare methods at equal compute: what each reaches with no more operations than one of them
took.

Samples are drawn one by one, so a vote over k of n samples costs k / n of the file's operations; a
search costs all of its own, and votes that do not look at scores cost nothing of the PRM.
Operations are the estimates in the files' costs.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rewardscope.errors import BadRecord
from rewardscope.records import Cost, SolvedProblem
from rewardscope.search.methods import are_independent, made_by
from rewardscope.stages.measures import VOTES, paired, share
from rewardscope.stages.votes import Judged, majority, powers_up_to, subsets
from rewardscope.storage.tables import show_table, shown

_BY_SCORE = ("weighted", "best_of")
_NAMES = {
    "answer": "its answer",
    "majority": "majority",
    "weighted": "weighted vote",
    "best_of": "best of k",
}


class Measured(NamedTuple):
    """A generations file, judged."""

    source: Path
    solved: Sequence[SolvedProblem]
    judged: Sequence[Judged]


class Point(NamedTuple):
    """A method over all files of one name (the seeds of one method): one number a problem and
    file.
    """

    method: str
    k: int
    right: dict[str, list[float]]
    flops: dict[str, list[float]]
    of_subsets: bool
    """Whether it is a vote at one of several k, so that most problems are right in part."""

    @property
    def mean_flops(self) -> float:
        return _mean(_per_problem(self.flops))


def compare(files: Sequence[Measured], *, seed: int) -> dict[str, Any]:
    """Return what every method reaches with as many samples as the operations of the first file's
    own answer pay for.

    Searches cannot be cut: they stand with what they took. Only problems that all files have count;
    `left_out` says how many others each file has.
    Raises: BadRecord where there are none, or where a file has no operations.
    """
    every = [{row.problem.id for row in file.solved} for file in files]
    shared = set.intersection(*every)
    if not shared:
        raise BadRecord(
            f"{files[0].source} and the files to compare it with have no problem in common"
        )
    for file in files:
        if not any(row.cost.policy_flops for row in file.solved):
            raise BadRecord(
                f"{file.source} has no operations in its costs; generate it anew to compare it"
            )
    groups: dict[str, list[Measured]] = defaultdict(list)
    for file in files:
        groups[file.source.stem].append(_only(file, shared))
    main = _whole(next(iter(groups.values())), "answer")
    points = [main]
    for group in groups.values():
        points += (
            _of_samples(group, main.mean_flops, seed=seed)
            if are_independent(group[0].source)
            else _of_search(group)
        )
    rows = {point.method: _row(point, main, seed=seed) for point in points}
    return {
        "budget_flops": main.mean_flops,
        "problems": len(shared),
        "left_out": {
            str(file.source): len(problems - shared)
            for file, problems in zip(files, every, strict=True)
        },
        "methods": list(rows.values()),
        "by_budget": [
            {"source": name, "made_by": made_by(group[0].source), **row}
            for name, group in groups.items()
            for row in _by_budget(group, main, seed=seed)
        ],
    }


def _by_budget(files: Sequence[Measured], main: Point, *, seed: int) -> list[dict[str, Any]]:
    """Return what a method reaches at each budget that its files allow.

    Votes over 1, 2, 4 ... and all samples, and a search's own answer, which has one budget.
    """
    if not are_independent(files[0].source):
        return [{"vote": "answer", **_row(_whole(files, "answer"), main, seed=seed)}]
    n = min(len(row.traces) for file in files for row in file.solved)
    return [
        {"vote": kind, **_row(_vote(files, kind, k, seed=seed), main, seed=seed)}
        for kind in _votes(files, n)
        for k in powers_up_to(n)
    ]


def _only(file: Measured, problems: set[str]) -> Measured:
    pairs = [
        pair
        for pair in zip(file.solved, file.judged, strict=True)
        if pair[0].problem.id in problems
    ]
    return Measured(file.source, [row for row, _ in pairs], [each for _, each in pairs])


def _of_search(files: Sequence[Measured]) -> list[Point]:
    """Return a search's own answer and the votes over its traces, all of which cost the whole of
    it.
    """
    return [_whole(files, kind) for kind in ("answer", *VOTES)]


def _whole(files: Sequence[Measured], kind: str) -> Point:
    """Return a method over all traces of every file, for all that it took."""

    def right(row: SolvedProblem, each: Judged) -> float:
        return (
            float(each.correct[row.chosen] is True)
            if kind == "answer"
            else VOTES[kind](each, range(len(each.correct)))
        )

    return _point(
        files,
        kind,
        max(len(row.traces) for file in files for row in file.solved),
        right,
        lambda row: _total(row.cost),
        of_subsets=False,
    )


def _of_samples(files: Sequence[Measured], budget: float, *, seed: int) -> list[Point]:
    """Return the votes over as many samples as the budget pays for, at least one and at most
    all.
    """
    n = min(len(row.traces) for file in files for row in file.solved)
    points = []
    for kind in _votes(files, n):
        each_sample = _mean(
            [
                _cost_of_samples(kind, row.cost) / len(row.traces)
                for file in files
                for row in file.solved
            ]
        )
        k = max(1, min(n, int(budget / each_sample)))
        points.append(_vote(files, kind, k, seed=seed))
    return points


def _votes(files: Sequence[Measured], n: int) -> tuple[str, ...]:
    """Return the votes that n samples allow; those by score where a PRM has scored them."""
    scored = any(row.cost.prm_flops for file in files for row in file.solved)
    return tuple(VOTES) if scored else ("majority",) if n > 1 else ("answer",)


def _cost_of_samples(kind: str, cost: Cost) -> int:
    return cost.policy_flops + (cost.prm_flops if kind in _BY_SCORE else 0)


def _vote(files: Sequence[Measured], kind: str, k: int, *, seed: int) -> Point:
    """Return the vote over k of each problem's samples."""

    def right(row: SolvedProblem, each: Judged) -> float:
        vote = VOTES.get(kind, majority)
        return _mean(
            [
                vote(each, subset)
                for subset in subsets(len(each.correct), k, seed=f"{seed}-{row.problem.id}")
            ]
        )

    # A file with more samples than the others also cost more: k are charged as k of its own.
    return _point(
        files,
        kind,
        k,
        right,
        lambda row: k / len(row.traces) * _cost_of_samples(kind, row.cost),
        of_subsets=any(len(row.traces) > 1 for file in files for row in file.solved),
    )


def _point(
    files: Sequence[Measured],
    kind: str,
    k: int,
    right: Callable[[SolvedProblem, Judged], float],
    flops: Callable[[SolvedProblem], float],
    *,
    of_subsets: bool,
) -> Point:
    name = f"{files[0].source.stem}: {_NAMES[kind]}"
    found = Point(name, k, defaultdict(list), defaultdict(list), of_subsets)
    for file in files:
        for row, each in zip(file.solved, file.judged, strict=True):
            found.right[row.problem.id].append(right(row, each))
            found.flops[row.problem.id].append(flops(row))
    return found


def _total(cost: Cost) -> int:
    return cost.policy_flops + cost.prm_flops


def _row(point: Point, main: Point, *, seed: int) -> dict[str, Any]:
    right, best = _per_problem(point.right), _per_problem(main.right)
    return {
        "method": point.method,
        "k": point.k,
        "flops": point.mean_flops,
        "share_of_budget": point.mean_flops / main.mean_flops,
        "accuracy": asdict(share(right, seed=seed, as_fractions=point.of_subsets)),
        "difference": asdict(paired(right, best, seed=seed)),
    }


def _per_problem(values: dict[str, list[float]]) -> list[float]:
    """Return one mean a problem, in the order of the ids."""
    return [_mean(values[problem]) for problem in sorted(values)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def show_comparison(found: dict[str, Any]) -> str:
    """Lay out one line a method, and how many problems each file has that others lack."""
    header = (
        "at equal compute",
        "k",
        "GFLOPs",
        "of budget",
        "accuracy",
        "95 % low",
        "high",
        "difference",
        "95 % low",
        "high",
        "n",
    )
    rows = []
    for row in found["methods"]:
        a, d = row["accuracy"], row["difference"]
        cells = [
            shown(value)
            for value in (a["value"], a["low"], a["high"], d["value"], d["low"], d["high"])
        ]
        rows.append(
            (
                row["method"],
                row["k"],
                f"{row['flops'] / 1e9:.2f}",
                f"{row['share_of_budget']:.2f}",
                *cells,
                a["n"],
            )
        )
    lines = [show_table(header, rows)]
    if any(found.get("left_out", {}).values()):
        counts = ", ".join(f"{count} of {file}" for file, count in found["left_out"].items())
        lines.append(
            f"only the {found['problems']} problems that all files have count; left out: {counts}"
        )
    return "\n".join(lines)
