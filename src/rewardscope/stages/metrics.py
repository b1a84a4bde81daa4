"""`metrics`: how often a generations file is right, alone and under votes, each number with n and a
95 % interval.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.log import get_logger, show
from rewardscope.paths import metrics_file, slug
from rewardscope.problems.extraction import EXTRACTION_HELP, ExtractionRule
from rewardscope.problems.judgement import Grading
from rewardscope.records import SolvedProblem
from rewardscope.search.aggregate import AGGREGATION_HELP, Aggregation, check_aggregation
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, find_required, option
from rewardscope.stages import answer_sources
from rewardscope.stages.equal_compute import Measured, compare
from rewardscope.stages.format_values import of_format
from rewardscope.stages.judging import Graded, count_verdicts, judge
from rewardscope.stages.measures import (
    estimated,
    of_costs,
    of_traces,
    of_windows,
    share,
    verdict_values,
)
from rewardscope.stages.metrics_tables import metrics_table
from rewardscope.stages.named_scores import SCORES_HELP, with_scores_of
from rewardscope.stages.votes import Judged
from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.manifests import read_manifest

UNKNOWN = "problem with neither a gold answer nor a verdict"


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Report accuracy, pass@k, majority and PRM-weighted votes and best-of-k of a generations file,
    with 95 % intervals.

    Every number is a mean over problems. A vote at k < n is the mean over subsets of k of a
    problem's n traces, whatever their order in the file; a tie counts as the share of right answers
    among the tied. k goes up to the smallest n. Three gradings stand side by side: strict, and with
    numbers that may be off by a relative 1e-4 or 1e-2. A trace without step scores counts with the
    reward that came with it; scores beyond 0 to 1 weigh votes by their logistic function.
    """

    dataset: str = option(
        help="generations file: a path, or a name below the data folder, with or without .jsonl",
        key=False,
    )
    name: str | None = option(None, help="stands for the file in the name of the result", key=False)
    aggregation: Aggregation | None = option(
        None,
        help=(
            f"of step scores, for weighted votes and best-of-k: {AGGREGATION_HELP} (default: that"
            " of the search, or else last)"
        ),
    )
    scores: str | None = option(None, help=f"{SCORES_HELP}, for the same")
    against: tuple[str, ...] = option(
        (),
        help=(
            "generations files to compare it with at equal compute; files of one name are seeds of"
            " one method"
        ),
    )
    extract: ExtractionRule | None = option(
        None,
        help=(
            f"take every answer anew, and grade it; {EXTRACTION_HELP} (default: as the file was"
            " made)"
        ),
    )
    regrade: bool = option(
        False, help="extract and grade every answer anew, also where the file has a verdict"
    )
    seed: int = option(0, help="seed of the subsets and of the bootstrap")

    def __post_init__(self) -> None:
        if self.aggregation is not None:
            check_aggregation(self.aggregation)


def run(config: Config, settings: Settings) -> Path:
    """Grade what has no verdict, compute, write the metrics beside the generations, and print them.

    Raises: MissingInput.
    """
    source, *others = (_source(name, settings) for name in (config.dataset, *config.against))
    out = metrics_file(source, config.name)
    given, aggregation = config.aggregation, config.aggregation or _of_search(source)
    config = dataclasses.replace(config, aggregation=aggregation, against=tuple(map(slug, others)))
    stage = Stage(
        "metrics",
        config,
        inputs={"generations": source} | {f"against {i}": other for i, other in enumerate(others)},
        out=out,
    )
    if not stage.is_done():
        solved, n_unknown = _known(source)
        solved = with_scores_of(solved, config.scores, source=source, needed=False)
        skipped = {UNKNOWN: n_unknown} if n_unknown else {}
        for reason, count in skipped.items():
            get_logger().warning(f"metrics: left out {count} times: {reason}")
        with stage:
            graded = _grade(source, solved, aggregation, config)
            judged = graded.by_grading
            compared = (
                compare(
                    [Measured(source, solved, judged["strict"]), *_judged(others, given, config)],
                    seed=config.seed,
                )
                if others
                else None
            )
            report = _report(solved, judged, config) | {
                "answers": answer_sources.counts(graded.sources),
                "unread_golds": answer_sources.unread_golds(solved, graded.gold_read),
                "equal_compute": compared,
            }
            write_json(stage.work, report)
            stage.finish([stage.work], rows=len(solved), skipped=skipped)
    show(metrics_table(out))
    return out


def _source(name: str, settings: Settings) -> Path:
    source = find_required(name, settings.data_dir, "infer", suffix=".jsonl")
    if source.is_dir():
        raise ConfigError(f"{name}: {source} is a folder; name a generations file")
    return source


def _known(source: Path) -> tuple[list[SolvedProblem], int]:
    """Return the problems whose answers can be judged, and how many cannot.

    Raises: BadRecord where there are none.
    """
    every = read_solved(source)
    solved = [
        row
        for row in every
        if row.problem.answer or any(trace.correct is not None for trace in row.traces)
    ]
    if not solved:
        raise BadRecord(
            f"{source}: no problem has a gold answer, and no trace a verdict; there is nothing to"
            " measure"
        )
    return solved, len(every) - len(solved)


def _judged(
    sources: Sequence[Path], given: Aggregation | None, config: Config
) -> Iterator[Measured]:
    """Judge the files to compare with as the main one was."""
    for source in sources:
        solved, _ = _known(source)
        aggregation = given or _of_search(source)
        graded = _grade(source, solved, aggregation, config)
        yield Measured(source, solved, graded.by_grading["strict"])


def _grade(
    source: Path, solved: Sequence[SolvedProblem], aggregation: Aggregation, config: Config
) -> Graded:
    return judge(
        source, solved, aggregation=aggregation, extract=config.extract, regrade=config.regrade
    )


def _of_search(source: Path) -> Aggregation:
    """Return the aggregation that the search selected by, so that votes follow it; "last" for
    traces that no search made.
    """
    manifest = read_manifest(source)
    return manifest.settings.get("aggregation", "last") if manifest else "last"


def _report(
    solved: Sequence[SolvedProblem], judged: Mapping[Grading, Sequence[Judged]], config: Config
) -> dict[str, Any]:
    counts = [len(row.traces) for row in solved]
    traces = [trace for row in solved for trace in row.traces]
    strict = judged["strict"]
    scored = any(score is not None for each in strict for score in each.scores)
    by_grading = {
        grading: estimated(
            verdict_values(solved, each, seed=config.seed, scored=scored), seed=config.seed
        )
        for grading, each in judged.items()
    }
    return {
        "problems": len(solved),
        "traces_per_problem": [min(counts), max(counts)],
        "aggregation": (
            None
            if not scored
            else config.aggregation
            if any(trace.scores for trace in traces)
            else "reward"
        ),
        "metrics": {
            name: asdict(estimate)
            for name, estimate in (
                of_traces(solved, strict, seed=config.seed) | by_grading["strict"]
            ).items()
        },
        "gradings": {
            grading: {name: asdict(estimate) for name, estimate in estimates.items()}
            for grading, estimates in by_grading.items()
            if grading != "strict"
        },
        "cost": {
            name: asdict(estimate) for name, estimate in of_costs(solved, seed=config.seed).items()
        },
        "windows": of_windows(solved, strict, seed=config.seed),
        "format": of_format(solved, seed=config.seed),
        "verdicts": {grading: count_verdicts(each) for grading, each in judged.items()},
        "published": _against_published(solved, strict, config.seed),
        "chosen_correct": {
            row.problem.id: each.correct[row.chosen]
            for row, each in zip(solved, strict, strict=True)
        },
    }


def _against_published(
    solved: Sequence[SolvedProblem], judged: Sequence[Judged], seed: int
) -> dict[str, Any] | None:
    """Compare strict verdicts with those that came with imported traces; list where they differ."""
    agreed, different = [], []
    for row, each in zip(solved, judged, strict=True):
        pairs = [
            (trace, correct is True)
            for trace, correct in zip(row.traces, each.correct, strict=True)
        ]
        pairs = [
            (trace, right)
            for trace, right in pairs
            if trace.published is not None and row.problem.answer
        ]
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
