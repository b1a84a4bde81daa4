"""`metrics`: how often a generations file is right, alone and under votes, each number with n and a 95 % interval."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardscope.cli import show
from rewardscope.errors import BadRecord, ConfigError
from rewardscope.log import get_logger
from rewardscope.paths import find_input, metrics_file
from rewardscope.problems.answers import GRADINGS, Grader, Grading, Item, Judgement, extract_answer
from rewardscope.problems.steps import DELIMITER
from rewardscope.records import Estimate, SolvedProblem, Trace
from rewardscope.search.aggregate import AGGREGATION_HELP, Aggregation, aggregate, check_aggregation
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option, require
from rewardscope.stages.votes import Judged, best_of, majority, pass_at_k, powers_up_to, subsets, weighted
from rewardscope.storage.files import manifest_of, write_json
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import read_json, show_table

UNKNOWN = "problem with neither a gold answer nor a verdict"


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Report accuracy, pass@k, majority and PRM-weighted votes and best-of-k of a generations file, with 95 % intervals.

    Every number is a mean over problems. A vote at k < n is the mean over subsets of k of a problem's n traces, whatever
    their order in the file; a tie counts as the share of right answers among the tied. k goes up to the smallest n.
    Three gradings stand side by side: strict, and with numbers that may be off by a relative 1e-4 or 1e-2. A trace without step
    scores counts with the reward that came with it; scores beyond 0 to 1 weigh votes by their logistic function.
    """

    dataset: str = option(help="generations file: a path, or a name below the data folder, with or without .jsonl", key=False)
    aggregation: Aggregation | None = option(
        None, help=f"of step scores, for weighted votes and best-of-k: {AGGREGATION_HELP} (default: that of the search, or else last)"
    )
    regrade: bool = option(False, help="extract and grade every answer anew, also where the file has a verdict")
    seed: int = option(0, help="seed of the subsets and of the bootstrap")

    def __post_init__(self) -> None:
        if self.aggregation is not None:
            check_aggregation(self.aggregation)


def run(config: Config, settings: Settings) -> Path:
    """Grade what has no verdict, compute, write the metrics beside the generations, and print them. Raises: MissingInput."""
    source = require(find_input(config.dataset, settings.data_dir, suffix=".jsonl"), config.dataset, "infer")
    if source.is_dir():
        raise ConfigError(f"--dataset {config.dataset}: {source} is a folder; name a generations file")
    out = metrics_file(source)
    aggregation = config.aggregation or _of_search(source)
    config = dataclasses.replace(config, aggregation=aggregation)
    stage = Stage("metrics", config, inputs={"generations": source}, out=out)
    if not stage.is_done():
        every = read_solved(source)
        solved = [row for row in every if row.problem.answer or any(trace.correct is not None for trace in row.traces)]
        if not solved:
            raise BadRecord(f"{source}: no problem has a gold answer, and no trace a verdict; there is nothing to measure")
        skipped = {UNKNOWN: len(every) - len(solved)} if len(solved) < len(every) else {}
        for reason, count in skipped.items():
            get_logger().warning(f"metrics: left out {count} times: {reason}")
        with stage:
            judged = judge(solved, aggregation=aggregation, regrade=config.regrade)
            write_json(out, _report(solved, judged, config))
            stage.finish([out], rows=len(solved), skipped=skipped)
    show(_table(out))
    return out


def _of_search(source: Path) -> Aggregation:
    """Return the aggregation that the search selected by, so that votes follow it; "last" for traces that no search made."""
    manifest = manifest_of(source)
    return read_json(manifest)["settings"].get("aggregation", "last") if manifest.is_file() else "last"


def judge(solved: Sequence[SolvedProblem], *, aggregation: Aggregation, regrade: bool) -> dict[Grading, list[Judged]]:
    """Return for each grading the verdicts, groups of equal answers and scores of every problem's traces."""
    traces = [(row.problem, trace) for row in solved for trace in row.traces]
    answers = [_answer(trace, regrade=regrade) for _, trace in traces]
    # A stored verdict is the strict one; where it is wrong, the other gradings need to know how far off the answer is.
    open_ones = [i for i, (_, trace) in enumerate(traces) if regrade or not trace.correct]
    judgements = [Judgement(trace.correct) for _, trace in traces]
    spans = list(itertools.pairwise(itertools.accumulate((len(row.traces) for row in solved), initial=0)))
    with Grader() as grader:
        items = [Item(traces[i][0].answer, answers[i], traces[i][0].tolerance) for i in open_ones]
        for i, found in zip(open_ones, grader.grade(items), strict=True):
            stored = traces[i][1].correct
            keeps = stored is not None and not (regrade and traces[i][0].answer)
            judgements[i] = found._replace(correct=stored) if keeps else found
        groups = grader.group([answers[start:end] for start, end in spans])
    scores = [aggregate(trace.scores, aggregation) if trace.scores else trace.reward for _, trace in traces]
    weights = _as_weights(scores)
    return {
        grading: [
            Judged([judgement.verdict(grading) for judgement in judgements[start:end]], group, scores[start:end], weights[start:end])
            for (start, end), group in zip(spans, groups, strict=True)
        ]
        for grading in GRADINGS
    }


def _answer(trace: Trace, *, regrade: bool) -> str | None:
    if trace.answer is not None and not regrade:
        return trace.answer
    return extract_answer(DELIMITER.join(trace.steps)) or trace.answer


def _as_weights(scores: Sequence[float | None]) -> list[float | None]:
    """Return the scores, by the logistic function where one lies beyond 0 to 1: a vote cannot weigh less than nothing."""
    if all(0 <= score <= 1 for score in scores if score is not None):
        return list(scores)
    return [None if score is None else (1 + math.tanh(score / 2)) / 2 for score in scores]


def _report(solved: Sequence[SolvedProblem], judged: Mapping[Grading, Sequence[Judged]], config: Config) -> dict[str, Any]:
    counts = [len(row.traces) for row in solved]
    traces = [trace for row in solved for trace in row.traces]
    scored = any(score is not None for each in judged["strict"] for score in each.scores)
    by_grading = {grading: _of_verdicts(solved, each, config.seed, scored=scored) for grading, each in judged.items()}
    return {
        "problems": len(solved),
        "traces_per_problem": [min(counts), max(counts)],
        "aggregation": None if not scored else config.aggregation if any(trace.scores for trace in traces) else "reward",
        "metrics": {
            name: asdict(estimate) for name, estimate in (_of_traces(solved, judged["strict"], config.seed) | by_grading["strict"]).items()
        },
        "gradings": {
            grading: {name: asdict(estimate) for name, estimate in estimates.items()}
            for grading, estimates in by_grading.items()
            if grading != "strict"
        },
        "verdicts": {grading: count_verdicts(each) for grading, each in judged.items()},
        "published": _against_published(solved, judged["strict"], config.seed),
        "chosen_correct": {row.problem.id: each.correct[row.chosen] for row, each in zip(solved, judged["strict"], strict=True)},
    }


def count_verdicts(judged: Sequence[Judged]) -> dict[str, int]:
    """Count traces that are right, wrong, and unparsed: without an answer, or with one that could not be read."""
    verdicts = [
        "right" if correct else "unparsed" if correct is None or group is None else "wrong"
        for each in judged
        for correct, group in zip(each.correct, each.groups, strict=True)
    ]
    return {name: verdicts.count(name) for name in ("right", "wrong", "unparsed")}


def _against_published(solved: Sequence[SolvedProblem], judged: Sequence[Judged], seed: int) -> dict[str, Any] | None:
    """Compare strict verdicts with those that came with imported traces; list where they differ."""
    agreed, different = [], []
    for row, each in zip(solved, judged, strict=True):
        pairs = [(trace, correct is True) for trace, correct in zip(row.traces, each.correct, strict=True)]
        pairs = [(trace, right) for trace, right in pairs if trace.published is not None and row.problem.answer]
        if pairs:
            agreed.append([right == trace.published for trace, right in pairs])
        different += [
            {
                "problem": row.problem.id,
                "trace": trace.index,
                "gold": row.problem.answer,
                "answer": trace.answer,
                "published": trace.published,
            }
            for trace, right in pairs
            if right != trace.published
        ]
    if not agreed:
        return None
    agreement = share([values.count(True) / len(values) for values in agreed], seed=seed)
    return {"traces": sum(map(len, agreed)), "agreement": asdict(agreement), "different": different}


def _of_traces(solved: Sequence[SolvedProblem], judged: Sequence[Judged], seed: int) -> dict[str, Estimate]:
    """Return what does not depend on the grading."""
    shares = {
        "unanswered": [each.groups.count(None) / len(each.groups) for each in judged],
        "unjudged": [each.correct.count(None) / len(each.correct) for each in judged],
        "truncated": [sum(trace.finish == "length" for trace in row.traces) / len(row.traces) for row in solved],
    }
    known = [[trace.n_tokens for trace in row.traces if trace.n_tokens is not None] for row in solved]
    amounts = {
        "mean_tokens": [math.fsum(tokens) / len(tokens) for tokens in known if tokens],
        "mean_steps": [math.fsum(len(trace.steps) for trace in row.traces) / len(row.traces) for row in solved],
    }
    return {name: share(values, seed=seed) for name, values in shares.items()} | {
        name: _bootstrapped(values, seed) for name, values in amounts.items() if values
    }


def _of_verdicts(solved: Sequence[SolvedProblem], judged: Sequence[Judged], seed: int, *, scored: bool) -> dict[str, Estimate]:
    """Return what depends on the grading: accuracies, and what votes at k reach."""
    methods = {"majority": majority, "weighted": weighted, "best_of": best_of} if scored else {"majority": majority}
    values: dict[str, list[float]] = {
        "accuracy": [float(each.correct[row.chosen] is True) for row, each in zip(solved, judged, strict=True)],
        "mean_accuracy": [each.correct.count(True) / len(each.correct) for each in judged],
    }
    sizes = powers_up_to(min(len(each.correct) for each in judged))
    for k in sizes:
        values[f"pass@{k}"] = [pass_at_k(len(each.correct), each.correct.count(True), k=k) for each in judged]
    for name, method in methods.items():
        for k in sizes:
            drawn = [subsets(len(each.correct), k, seed=f"{seed}-{row.problem.id}") for row, each in zip(solved, judged, strict=True)]
            values[f"{name}@{k}"] = [
                math.fsum(method(each, subset) for subset in some) / len(some) for each, some in zip(judged, drawn, strict=True)
            ]
    return {name: share(per_problem, seed=seed) for name, per_problem in values.items()}


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
    named = {None: "no PRM scores", "reward": "rewards that came with them"}
    scores = named.get(report["aggregation"], f"scores aggregated by {report['aggregation']}")
    others = report["gradings"]
    rows = []
    for name, e in report["metrics"].items():
        rest = [cell for metrics in others.values() for cell in (_bounds(name, metrics[name]) if name in metrics else ("", "", ""))]
        rows.append((name, *_bounds(name, e), e["n"], *rest))
    verdicts = report["verdicts"]
    for name, count in verdicts["strict"].items():
        rows.append((f"traces {name}", count, "", "", "", *(cell for other in others for cell in (verdicts[other][name], "", ""))))
    header = ("metric", "strict", "95 % low", "high", "n", *(cell for other in others for cell in (other, "low", "high")))
    heading = f"{path}: {report['problems']} problems, {traces} traces each, {scores}"
    return "\n".join([heading, show_table(header, rows), *_published_lines(report["published"])])


def _bounds(name: str, estimate: Mapping[str, float]) -> tuple[str, ...]:
    digits = 1 if name in ("mean_tokens", "mean_steps") else 3
    return tuple(f"{estimate[bound]:.{digits}f}" for bound in ("value", "low", "high"))


def _published_lines(published: Mapping[str, Any] | None) -> list[str]:
    if published is None:
        return []
    e, different = published["agreement"], published["different"]
    verdicts = f"{published['traces'] - len(different)} of {published['traces']} traces"
    lines = [f"strict verdicts agree with the published ones on {verdicts}: {e['value']:.3f} [{e['low']:.3f}, {e['high']:.3f}] n={e['n']}"]
    words = {True: "right", False: "wrong"}
    return lines + [
        f"  {d['problem']} trace {d['trace']}: gold {d['gold']}, answer {d['answer']}, published as {words[d['published']]}"
        for d in different
    ]
