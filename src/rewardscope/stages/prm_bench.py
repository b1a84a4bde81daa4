"""`prm-bench`: how well a PRM finds wrong steps, on ProcessBench and PRMBench."""

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardscope.errors import BadRecord, ConfigError, MissingInput, TooLong
from rewardscope.log import get_logger, progress, show
from rewardscope.paths import prm_bench_dir, prm_bench_report_file, prm_bench_scores_file, slug
from rewardscope.prms import DEFAULT_PRM, Beyond, PrmEngineName
from rewardscope.records import Estimate
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, distinct, given_files, option
from rewardscope.stages.prm_bench_rows import scored_row, scoring_cost, with_scores
from rewardscope.stages.prm_bench_tables import benchmark_table
from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import PartialRows
from rewardscope.storage.manifests import read_finished

if TYPE_CHECKING:
    from rewardscope.prms import Scorer
    from rewardscope.problems.prm_benchmarks import LabelledSolutions

REPEATED = "item whose id came before"
BEYOND = "item with a wrong step after its last one, which counts for nothing"


@dataclass(frozen=True, kw_only=True)
class Scoring(StageConfig):
    """What decides the scores, beside the PRM and the file.

    They are kept; threshold and intervals come after them.
    """

    prm_engine: PrmEngineName = option(help="of the PRM")
    prm_window: int | None = option(help="tokens that the PRM was trained for")
    beyond_window: Beyond = option(help="what becomes of longer inputs")


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Measure how well a PRM finds wrong steps: ProcessBench's F1 and PRMBench's PRM score, as
    published.

    invoke prm-bench --prm P FILE ... ProcessBench files hold problem, steps, label; PRMBench files
    modified_question, modified_process, error_steps, classification. A step is taken for wrong
    where it does not score above the threshold. Scores go to prm-bench/<PRM>/<file>.jsonl and are
    kept per solution; the metrics of all the files to report.json there.
    """

    files: tuple[str, ...] = option(
        help="jsonl files of ProcessBench or PRMBench; may be given without the flag", key=False
    )
    prm: str = option(DEFAULT_PRM, help="hub id or folder of the PRM", key=False)
    name: str | None = option(
        None, help="stands for the PRM in the folder of the result", key=False
    )
    threshold: float | None = option(
        None,
        help="a right step scores above it (default: the middle of the PRM's range, 0.5 for most)",
    )
    prm_engine: PrmEngineName = option("auto", help="of the PRM: vllm, hf, or auto (hf)")
    prm_window: int | None = option(
        None,
        help=(
            "tokens of an input that the PRM was trained for (default: the positions of its config)"
        ),
    )
    beyond_window: Beyond = option(
        "drop",
        help="a solution beyond that: drop it, or score it and report on the others alone, too",
    )
    device: str = option("auto", help="auto, cpu, cuda or cuda:0", key=False)
    seed: int = option(0, help="seed of the bootstrap")
    chunk: int = option(
        64,
        help="solutions that are scored together; a killed run goes on after the last whole chunk",
        key=False,
    )

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ConfigError(f"--chunk {self.chunk}: at least 1 is needed")
        if self.prm_window is not None and self.prm_window < 1:
            raise ConfigError(f"--prm-window {self.prm_window}: at least 1 is needed")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ConfigError(f"--threshold {self.threshold}: a number is needed")


def run(config: Config, settings: Settings) -> Path:
    """Score what is not scored, then report on all the files; return the report.

    Raises: PipelineError.
    """
    sources = given_files(config.files)
    folder = prm_bench_dir(settings.data_dir, config.name or config.prm)
    outs = [prm_bench_scores_file(folder, source) for source in sources]
    distinct("--files", config.files, outs)
    scoring = Scoring(
        prm_engine=config.prm_engine,
        prm_window=config.prm_window,
        beyond_window=config.beyond_window,
        force=config.force,
    )
    stages = [
        Stage("prm-bench", scoring, inputs={"prm": config.prm, "benchmark": source}, out=out)
        for source, out in zip(sources, outs, strict=True)
    ]
    from rewardscope.problems.prm_benchmarks import read_benchmark

    read = [read_benchmark(source) for source in sources]
    pending = [
        (stage, labelled)
        for stage, labelled in zip(stages, read, strict=True)
        if not stage.is_done()
    ]
    if pending:
        _score_all(pending, config)
    return _report(outs, read, config=config, out=prm_bench_report_file(folder))


def _score_all(pending: Sequence[tuple[Stage, "LabelledSolutions"]], config: Config) -> None:
    """Load the PRM once and work off the files."""
    from rewardscope.prms import find_adapter, load_scorer

    score_range = find_adapter(config.prm).score_range
    bounds = list(score_range) if all(map(math.isfinite, score_range)) else None
    _threshold(config, bounds)  # before the weights are loaded
    scorer = load_scorer(
        config.prm,
        engine=config.prm_engine,
        device=config.device,
        window=config.prm_window,
        beyond=config.beyond_window,
    )
    for stage, labelled in pending:
        with stage:
            _score(labelled, scorer, stage=stage, chunk_size=config.chunk, bounds=bounds)


def _score(
    labelled: "LabelledSolutions",
    scorer: "Scorer",
    *,
    stage: Stage,
    chunk_size: int,
    bounds: list[float] | None,
) -> None:
    """Score chunk by chunk, keep each as it is done, then write the file and the manifest."""
    dataset = slug(stage.out)
    partial = PartialRows(stage.work, stage.key)
    accepted, refused, reasons = [], {}, Counter()
    for solution in labelled.solutions:
        try:
            accepted.append((solution, scorer.encode(solution.question, solution.steps)))
        except BadRecord as error:
            # Counted under one reason for all that are too long; each is named with its own below.
            reasons[
                (
                    f"more tokens than the PRM's {scorer.max_positions} positions"
                    if isinstance(error, TooLong)
                    else "refused"
                )
            ] += 1
            refused[solution.id] = str(error)
    if not accepted:
        raise MissingInput(
            f"{dataset}: the PRM can score none of the {len(labelled.solutions)} solutions; the"
            f" first: {next(iter(refused.values()))}"
        )
    for solution_id, why in refused.items():
        get_logger().warning(f"prm-bench: {dataset} leaves out {solution_id}: {why}")
    todo = [
        (solution, encoded)
        for solution, encoded in accepted
        if f"{dataset}/{solution.id}" not in partial.done
    ]
    chunks = [todo[start : start + chunk_size] for start in range(0, len(todo), chunk_size)]
    for chunk in progress(chunks, f"prm-bench {dataset}", unit="chunk"):
        started = time.perf_counter()
        scores = scorer.score([encoded for _, encoded in chunk])
        seconds = round((time.perf_counter() - started) / len(chunk), 6)
        partial.add(
            scored_row(
                solution,
                its_scores,
                dataset,
                in_window=len(encoded.input_ids) <= scorer.window,
                cost=scoring_cost(scorer, encoded, seconds),
            )
            for (solution, encoded), its_scores in zip(chunk, scores, strict=True)
        )
    rows = partial.finish([f"{dataset}/{solution.id}" for solution, _ in accepted])
    skipped = dict(reasons) | ({REPEATED: len(labelled.repeated)} if labelled.repeated else {})
    stage.finish(
        [stage.work], rows=rows, skipped=skipped, extra={"refused": refused, "score_range": bounds}
    )


def _threshold(config: Config, bounds: Sequence[float] | None) -> float:
    if config.threshold is not None:
        return config.threshold
    if bounds is None:
        raise ConfigError(
            f"--threshold is required: the scores of {config.prm} have no bounds, so no middle"
        )
    return sum(bounds) / 2


def _report(
    outs: Sequence[Path], read: Sequence["LabelledSolutions"], *, config: Config, out: Path
) -> Path:
    """Compute the metrics from the kept scores, write and print them.

    It takes seconds, so it is always made anew.
    """
    from rewardscope.problems.prm_benchmark_report import report

    stage = Stage(
        "prm-bench-report",
        dataclasses.replace(config, force=True),
        inputs={slug(path): path for path in outs},
        out=out,
    )
    stage.is_done()
    with stage:
        extras = {slug(path): read_finished(path).extra for path in outs}
        threshold = _threshold(config, next(iter(extras.values()))["score_range"])
        scored = [
            pair
            for path, labelled in zip(outs, read, strict=True)
            for pair in with_scores(path, labelled, within=False)
        ]
        within = [
            pair
            for path, labelled in zip(outs, read, strict=True)
            for pair in with_scores(path, labelled, within=True)
        ]
        for path, labelled in zip(outs, read, strict=True):
            for reason, ids in ((REPEATED, labelled.repeated), (BEYOND, labelled.beyond)):
                if ids:
                    get_logger().warning(
                        f"prm-bench: {slug(path)}: {len(ids)} times {reason}: {', '.join(ids)}"
                    )
        found = {
            "prm": config.prm,
            "threshold": threshold,
            "solutions": len(scored),
            "left_out": {name: extra["refused"] for name, extra in extras.items()},
            "repeated": {
                slug(path): labelled.repeated for path, labelled in zip(outs, read, strict=True)
            },
            "wrong_step_beyond_the_last": {
                slug(path): labelled.beyond for path, labelled in zip(outs, read, strict=True)
            },
            **_as_json(report(scored, threshold=threshold, seed=config.seed)),
            "beyond_window": len(scored) - len(within),
        }
        if 0 < len(within) < len(scored):
            found["within_window"] = _as_json(report(within, threshold=threshold, seed=config.seed))
        write_json(stage.work, found)
        stage.finish([stage.work], rows=len(scored))
    show(benchmark_table(found, out))
    return out


def _as_json(value: Any) -> Any:
    if isinstance(value, Estimate):
        return dataclasses.asdict(value)
    return {k: _as_json(v) for k, v in value.items()} if isinstance(value, dict) else value
