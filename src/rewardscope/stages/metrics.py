"""`metrics`: how often a generations file is right, alone and under votes, each number with n and a 95 % interval."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rewardscope.cli import show
from rewardscope.errors import ConfigError
from rewardscope.paths import find_input, metrics_file
from rewardscope.problems.answers import Grader, extract_answer
from rewardscope.problems.steps import DELIMITER
from rewardscope.records import Estimate, SolvedProblem, Trace
from rewardscope.search.aggregate import Aggregation, aggregate
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option, require
from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import read_json, show_table

MAX_SUBSETS = 50  # of k traces, for a vote at k: all where there are so few, else so many drawn


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Report accuracy, pass@k, majority and PRM-weighted votes and best-of-k of a generations file, with 95 % intervals.

    Every number is a mean over problems. A vote at k < n is the mean over subsets of k of a problem's n traces, whatever
    their order in the file; a tie counts as the share of right answers among the tied. k goes up to the smallest n.
    """

    dataset: str = option(help="generations file: a path, or a name below the data folder, with or without .jsonl", key=False)
    aggregation: Aggregation = option("last", help="of a trace's step scores, for weighted votes and best-of-k: last, min, prod or mean")
    regrade: bool = option(False, help="extract and grade every answer anew, also where the file has a verdict")
    seed: int = option(0, help="seed of the subsets and of the bootstrap")


class Judged(NamedTuple):
    """One problem. Lists have one entry a trace."""

    correct: list[bool | None]
    """The verdict; None where the grader found none, which counts as not right and is reported."""
    groups: list[int | None]
    """The position of the first trace with an equal answer; None without an answer."""
    weights: list[float | None]
    """The aggregated PRM score; None without scores."""


def run(config: Config, settings: Settings) -> Path:
    """Grade what has no verdict, compute, write the metrics beside the generations, and print them. Raises: MissingInput."""
    source = require(find_input(config.dataset, settings.data_dir, suffix=".jsonl"), config.dataset, "infer")
    if source.is_dir():
        raise ConfigError(f"--dataset {config.dataset}: {source} is a folder; name a generations file")
    out = metrics_file(source)
    stage = Stage("metrics", config, inputs={"generations": source}, out=out)
    if not stage.is_done():
        solved = read_solved(source)
        with stage:
            judged = judge(solved, aggregation=config.aggregation, regrade=config.regrade)
            write_json(out, _report(solved, judged, config))
            stage.finish([out], rows=len(solved))
    show(_table(out))
    return out


def judge(solved: Sequence[SolvedProblem], *, aggregation: Aggregation, regrade: bool) -> list[Judged]:
    """Return verdicts, groups of equal answers and aggregated scores of every problem's traces."""
    traces = [(row.problem.answer, trace) for row in solved for trace in row.traces]
    answers = [_answer(trace, regrade=regrade) for _, trace in traces]
    open_ones = [i for i, (_, trace) in enumerate(traces) if regrade or trace.correct is None]
    verdicts = [trace.correct for _, trace in traces]
    spans = list(itertools.pairwise(itertools.accumulate((len(row.traces) for row in solved), initial=0)))
    with Grader() as grader:
        for i, verdict in zip(open_ones, grader.grade([(traces[i][0], answers[i]) for i in open_ones]), strict=True):
            verdicts[i] = verdict
        groups = grader.group([answers[start:end] for start, end in spans])
    weights = [aggregate(trace.scores, aggregation) if trace.scores else None for _, trace in traces]
    return [Judged(verdicts[start:end], group, weights[start:end]) for (start, end), group in zip(spans, groups, strict=True)]


def _answer(trace: Trace, *, regrade: bool) -> str | None:
    if trace.answer is not None and not regrade:
        return trace.answer
    return extract_answer(DELIMITER.join(trace.steps)) or trace.answer


def _report(solved: Sequence[SolvedProblem], judged: Sequence[Judged], config: Config) -> dict[str, Any]:
    counts = [len(row.traces) for row in solved]
    scored = any(weight is not None for each in judged for weight in each.weights)
    estimates = _of_traces(solved, judged, config.seed) | _of_subsets(solved, judged, config.seed, scored=scored)
    return {
        "problems": len(solved),
        "traces_per_problem": [min(counts), max(counts)],
        "aggregation": config.aggregation if scored else None,
        "metrics": {name: asdict(estimate) for name, estimate in estimates.items()},
        "chosen_correct": {row.problem.id: each.correct[row.chosen] for row, each in zip(solved, judged, strict=True)},
    }


def _of_traces(solved: Sequence[SolvedProblem], judged: Sequence[Judged], seed: int) -> dict[str, Estimate]:
    def mean(value: Callable[[Trace], float]) -> list[float]:
        return [math.fsum(map(value, row.traces)) / len(row.traces) for row in solved]

    shares = {
        "accuracy": [float(each.correct[row.chosen] is True) for row, each in zip(solved, judged, strict=True)],
        "mean_accuracy": [each.correct.count(True) / len(each.correct) for each in judged],
        "unanswered": [each.groups.count(None) / len(each.groups) for each in judged],
        "unjudged": [each.correct.count(None) / len(each.correct) for each in judged],
        "truncated": mean(lambda trace: trace.finish == "length"),
    }
    amounts = {"mean_tokens": mean(lambda trace: trace.n_tokens), "mean_steps": mean(lambda trace: len(trace.steps))}
    return {name: share(values, seed=seed) for name, values in shares.items()} | {
        name: _bootstrapped(values, seed) for name, values in amounts.items()
    }


def _of_subsets(solved: Sequence[SolvedProblem], judged: Sequence[Judged], seed: int, *, scored: bool) -> dict[str, Estimate]:
    methods = {"majority": majority, "weighted": weighted, "best_of": best_of} if scored else {"majority": majority}
    values: dict[str, dict[int, list[float]]] = {name: {} for name in ("pass", *methods)}
    for k in powers_up_to(min(len(each.correct) for each in judged)):
        values["pass"][k] = [pass_at_k(len(each.correct), each.correct.count(True), k=k) for each in judged]
        drawn = [subsets(len(each.correct), k, seed=f"{seed}-{row.problem.id}") for row, each in zip(solved, judged, strict=True)]
        for name, method in methods.items():
            values[name][k] = [
                math.fsum(method(each, subset) for subset in some) / len(some) for each, some in zip(judged, drawn, strict=True)
            ]
    return {f"{name}@{k}": share(per_problem, seed=seed) for name, by_k in values.items() for k, per_problem in by_k.items()}


def powers_up_to(n: int) -> list[int]:
    """Return 1, 2, 4 ... below `n`, and `n`."""
    return [2**i for i in range(n.bit_length()) if 2**i < n] + [n]


def pass_at_k(n: int, right: int, *, k: int) -> float:
    """Return the chance that k of n traces, drawn without replacement, hold a right one. Source: arXiv 2107.03374 eq. 1."""
    return 1 - math.comb(n - right, k) / math.comb(n, k)


def subsets(n: int, k: int, *, seed: str) -> list[tuple[int, ...]]:
    """Return all k-subsets of n traces, or `MAX_SUBSETS` drawn ones where there are more."""
    if math.comb(n, k) <= MAX_SUBSETS:
        return list(itertools.combinations(range(n), k))
    rng = random.Random(f"{seed}-{k}")
    return [tuple(rng.sample(range(n), k)) for _ in range(MAX_SUBSETS)]


def majority(judged: Judged, subset: Sequence[int]) -> float:
    """Return 1 where the most frequent answer of a subset is right, 0 where not; traces without an answer do not vote."""
    return _elect(judged, [(judged.groups[i], 1.0) for i in subset])


def weighted(judged: Judged, subset: Sequence[int]) -> float:
    """Return the same for the answer with the largest sum of aggregated PRM scores."""
    return _elect(judged, [(judged.groups[i], judged.weights[i]) for i in subset])


def best_of(judged: Judged, subset: Sequence[int]) -> float:
    """Return the same for the one trace with the best aggregated PRM score, whether it has an answer or not."""
    weights = {i: weight for i in subset if (weight := judged.weights[i]) is not None}
    return _share_right([judged.correct[i] for i in _best(weights)])


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


def share(values: Sequence[float], *, seed: int) -> Estimate:
    """Return the mean of one share a problem: Wilson's interval where each is 0 or 1, else the bootstrap's."""
    from rewardscope.statistics import wilson

    return wilson(round(sum(values)), len(values)) if set(values) <= {0.0, 1.0} else _bootstrapped(values, seed)


def _bootstrapped(values: Sequence[float], seed: int) -> Estimate:
    import numpy as np

    from rewardscope.statistics import bootstrap

    return bootstrap(np.asarray(values), np.mean, seed=seed)


def _table(path: Path) -> str:
    report = read_json(path)
    low, high = report["traces_per_problem"]
    traces = str(low) if low == high else f"{low} to {high}"
    scores = f", scores aggregated by {report['aggregation']}" if report["aggregation"] else ", no PRM scores"
    rows = []
    for name, e in report["metrics"].items():
        digits = 1 if name in ("mean_tokens", "mean_steps") else 3
        rows.append((name, *(f"{e[bound]:.{digits}f}" for bound in ("value", "low", "high")), e["n"]))
    heading = f"{path}: {report['problems']} problems, {traces} traces each{scores}"
    return f"{heading}\n{show_table(('metric', 'value', '95 % low', 'high', 'n'), rows)}"
