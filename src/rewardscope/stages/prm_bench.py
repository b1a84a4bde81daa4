"""`prm-bench`: how well a PRM finds wrong steps, on ProcessBench and PRMBench."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardscope.errors import ConfigError
from rewardscope.log import get_logger, show
from rewardscope.paths import prm_bench_dir, prm_bench_report_file, prm_bench_scores_file, slug
from rewardscope.prms import DEFAULT_PRM, Beyond, PrmEngineName
from rewardscope.records import Estimate
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, distinct, given_files, option
from rewardscope.stages.prm_bench_rows import with_scores
from rewardscope.stages.prm_bench_scoring import (
    REPEATED,
    UNLABELLED,
    Given,
    Scoring,
    score_all,
    take_given,
    threshold_of,
)
from rewardscope.stages.prm_bench_tables import benchmark_table
from rewardscope.storage.files import write_json
from rewardscope.storage.manifests import read_finished

if TYPE_CHECKING:
    from rewardscope.problems.prm_benchmarks import LabelledSolutions

BEYOND = "item with a wrong step after its last one, which counts for nothing"


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
    prm: str | None = option(
        None,
        help=f"hub id or folder of the PRM (default, without --scores: {DEFAULT_PRM})",
        key=False,
    )
    scores: str | None = option(
        None, help="name of a PRM whose scores are in the files; no model is loaded"
    )
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
        if self.prm is not None and self.scores is not None:
            raise ConfigError(
                f"--prm {self.prm} --scores {self.scores}: a PRM to score with, or scores that are"
                " there; leave one out"
            )
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
    prm = config.scores or config.prm or DEFAULT_PRM
    folder = prm_bench_dir(settings.data_dir, config.name or prm)
    outs = [prm_bench_scores_file(folder, source) for source in sources]
    distinct("--files", config.files, outs)
    scoring = _scoring(config)
    models = {} if config.scores else {"prm": prm}
    stages = [
        Stage("prm-bench", scoring, inputs={**models, "benchmark": source}, out=out)
        for source, out in zip(sources, outs, strict=True)
    ]
    from rewardscope.problems.prm_benchmarks import read_benchmark

    read = [read_benchmark(source) for source in sources]
    pending = [
        (stage, labelled)
        for stage, labelled in zip(stages, read, strict=True)
        if not stage.is_done()
    ]
    if pending and isinstance(scoring, Given):
        take_given(pending, scoring.scores)
    elif pending and isinstance(scoring, Scoring):
        score_all(
            pending,
            scoring,
            prm=prm,
            device=config.device,
            chunk=config.chunk,
            threshold=config.threshold,
        )
    return _report(outs, read, config=config, prm=prm, out=prm_bench_report_file(folder))


def _scoring(config: Config) -> Scoring | Given:
    if config.scores is not None:
        return Given(scores=config.scores, force=config.force)
    return Scoring(
        prm_engine=config.prm_engine,
        prm_window=config.prm_window,
        beyond_window=config.beyond_window,
        force=config.force,
    )


def _report(
    outs: Sequence[Path],
    read: Sequence["LabelledSolutions"],
    *,
    config: Config,
    prm: str,
    out: Path,
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
        bounds = next(iter(extras.values()))["score_range"]
        threshold = threshold_of(config.threshold, bounds, prm=prm)
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
            for reason, ids in (
                (REPEATED, labelled.repeated),
                (BEYOND, labelled.beyond),
                (UNLABELLED, labelled.unlabelled),
            ):
                if ids:
                    get_logger().warning(
                        f"prm-bench: {slug(path)}: {len(ids)} times {reason}: {', '.join(ids)}"
                    )
        found = {
            "prm": prm,
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
