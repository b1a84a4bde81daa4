"""`prm-bench`: how well a PRM finds wrong steps, on ProcessBench and PRMBench."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.paths import prm_bench_dir, prm_bench_report_file, prm_bench_scores_file
from rewardscope.prms import DEFAULT_PRM, Beyond, PrmEngineName
from rewardscope.settings import Settings
from rewardscope.stage import Stage, distinct, given_files, option
from rewardscope.stages.model_flags import ModelFlags
from rewardscope.stages.prm_bench_report import Kept, report
from rewardscope.stages.prm_bench_scoring import Given, Scoring, score_all, take_given

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class Config(ModelFlags):
    """Measure how well a PRM finds wrong steps: ProcessBench's F1 and PRMBench's PRM score, as
    published.

    invoke prm-bench --prm P FILE ... ProcessBench files hold problem, steps, label; PRMBench files
    modified_question, modified_process, error_steps, classification. A step is taken for wrong
    where it does not score above the threshold. Scores go to prm-bench/<PRM>/<file>.jsonl and are
    kept per solution; the metrics of all the files to report.json there, with where the PRM errs
    (by step number, length, generator), its calibration, and what its scores add to the position.
    Imported traces with labels, and scores that are in the files (--scores), serve as well.
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
    against: tuple[str, ...] = option(
        (), help="PRMs, or names of scores, whose results on the same files it is compared with"
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
    config = config.revised("prm")
    sources = given_files(config.files)
    prm = config.scores or config.prm or DEFAULT_PRM
    folder = prm_bench_dir(settings.data_dir, config.name or prm)
    others = [_other(name, settings) for name in config.against]
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
    return report(
        [Kept(path, labelled) for path, labelled in zip(outs, read, strict=True)],
        config,
        prm=prm,
        others=others,
        threshold=config.threshold,
        seed=config.seed,
        out=prm_bench_report_file(folder),
    )


def _other(name: str, settings: Settings) -> Path:
    """Return the folder of another result. Raises: MissingInput."""
    folder = prm_bench_dir(settings.data_dir, name)
    if not prm_bench_report_file(folder).is_file():
        raise MissingInput(f"--against {name}: {folder} has no report; run invoke prm-bench for it")
    return folder


def _scoring(config: Config) -> Scoring | Given:
    if config.scores is not None:
        return Given(scores=config.scores, force=config.force)
    return Scoring(
        prm_engine=config.prm_engine,
        prm_window=config.prm_window,
        beyond_window=config.beyond_window,
        dtype=config.dtype,
        force=config.force,
    )
