"""Compare methods at equal compute: what each reaches with no more operations than one of them took.

Samples are drawn one by one, so a vote over k of n samples costs k / n of the file's operations; a search costs all of its own,
and votes that do not look at scores cost nothing of the PRM. Operations are the estimates in the files' costs.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rewardscope.errors import BadRecord
from rewardscope.records import SolvedProblem
from rewardscope.stages.measures import amount, share
from rewardscope.stages.votes import Judged
from rewardscope.storage.files import manifest_of
from rewardscope.storage.tables import read_json, show_table

_SLACK = 1.02  # a method may take so much more: votes are over whole samples
_BY_SCORE = ("weighted", "best_of")


class Measured(NamedTuple):
    """A generations file, judged."""

    source: Path
    solved: Sequence[SolvedProblem]
    judged: Sequence[Judged]
    values: dict[str, list[float]]
    """One number a problem for each metric, in the order of `solved`."""


class Point(NamedTuple):
    """A method at one number of samples, over all files of one name (the seeds of one method): one number a problem and file."""

    method: str
    k: int
    right: dict[str, list[float]]
    flops: dict[str, list[float]]

    @property
    def mean_flops(self) -> float:
        return _mean(_per_problem(self.flops))


def compare(files: Sequence[Measured], *, seed: int) -> dict[str, Any]:
    """Return what every method reaches within the operations of the first file's own answer.

    Only problems that all files have count. Raises: BadRecord where there are none, or where a file has no operations.
    """
    shared = set.intersection(*({row.problem.id for row in file.solved} for file in files))
    if not shared:
        raise BadRecord(f"{files[0].source} and the files to compare it with have no problem in common")
    for file in files:
        if not any(row.cost.policy_flops for row in file.solved):
            raise BadRecord(f"{file.source} has no operations in its costs; generate it anew to compare it")
    points = [point for group in _groups(files) for point in _points(group, shared)]
    main = points[0]
    rows = []
    for method in dict.fromkeys(point.method for point in points):
        affordable = [p for p in points if p.method == method and p.mean_flops <= _SLACK * main.mean_flops]
        if affordable:
            rows.append(_row(max(affordable, key=lambda p: p.k), main, seed=seed))
    dear = sorted({p.method for p in points} - {row["method"] for row in rows})
    return {"budget_flops": main.mean_flops, "problems": len(shared), "methods": rows, "beyond_budget": dear}


def _groups(files: Sequence[Measured]) -> list[list[Measured]]:
    groups: dict[str, list[Measured]] = defaultdict(list)
    for file in files:
        groups[file.source.stem].append(file)
    return list(groups.values())


def _points(files: Sequence[Measured], shared: set[str]) -> list[Point]:
    """Return the methods that files of one name hold; the file's own answer comes first."""
    name, searched = files[0].source.stem, _is_search(files[0].source)
    points = []
    for metric in files[0].values:
        kind, _, size = metric.partition("@")
        n = max(len(row.traces) for row in files[0].solved)
        if kind in ("mean_accuracy", "pass") or (searched and size not in ("", str(n))) or any(metric not in f.values for f in files):
            continue
        k = n if kind == "accuracy" and searched else int(size or 1)
        method = f"{name}: {'its answer' if kind == 'accuracy' else kind}"
        pays_prm = searched or kind in _BY_SCORE or (kind == "accuracy" and _is_scored(files[0]))
        part = 1.0 if searched or (kind == "accuracy" and pays_prm) else k / n
        right, flops = defaultdict(list), defaultdict(list)
        for file in files:
            for row, value in zip(file.solved, file.values[metric], strict=True):
                if row.problem.id in shared:
                    right[row.problem.id].append(value)
                    flops[row.problem.id].append(part * (row.cost.policy_flops + pays_prm * row.cost.prm_flops))
        points.append(Point(method, n if part == 1.0 else k, dict(right), dict(flops)))
    return points


def _is_search(source: Path) -> bool:
    """Say whether the traces of a file depend on one another."""
    manifest = manifest_of(source)
    return manifest.is_file() and read_json(manifest)["settings"].get("search") in ("beam", "dvts")


def _is_scored(file: Measured) -> bool:
    return any(row.cost.prm_flops for row in file.solved)


def _row(point: Point, main: Point, *, seed: int) -> dict[str, Any]:
    right, best = _per_problem(point.right), _per_problem(main.right)
    return {
        "method": point.method,
        "k": point.k,
        "flops": point.mean_flops,
        "share_of_budget": point.mean_flops / main.mean_flops,
        "accuracy": asdict(share(right, seed=seed)),
        "difference": asdict(amount([a - b for a, b in zip(right, best, strict=True)], seed=seed)),
    }


def _per_problem(values: dict[str, list[float]]) -> list[float]:
    """Return one mean a problem, in the order of the ids."""
    return [_mean(values[problem]) for problem in sorted(values)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def show_comparison(found: dict[str, Any]) -> str:
    """Lay out one line a method."""
    header = ("at equal compute", "k", "GFLOPs", "of budget", "accuracy", "95 % low", "high", "difference", "95 % low", "high", "n")
    rows = []
    for row in found["methods"]:
        a, d = row["accuracy"], row["difference"]
        shown = [f"{value:.3f}" for value in (a["value"], a["low"], a["high"], d["value"], d["low"], d["high"])]
        rows.append((row["method"], row["k"], f"{row['flops'] / 1e9:.2f}", f"{row['share_of_budget']:.2f}", *shown, a["n"]))
    lines = [show_table(header, rows)]
    if found["beyond_budget"]:
        lines.append(f"beyond the budget even with one sample: {', '.join(found['beyond_budget'])}")
    return "\n".join(lines)
