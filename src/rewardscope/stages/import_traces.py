"""`import-traces`: generations made elsewhere become a generations file, so that every other task
works on them.
"""

from dataclasses import dataclass
from pathlib import Path

from rewardscope.errors import ConfigError
from rewardscope.paths import imported_file
from rewardscope.problems.extraction import DEFAULT_RULE, EXTRACTION_HELP, ExtractionRule
from rewardscope.problems.imports import Kind, Side, read_traces
from rewardscope.problems.steps import typed_delimiter
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, distinct, given_files, option
from rewardscope.stages.grading import graded
from rewardscope.storage.jsonl import write_solved


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    r"""Bring generations made elsewhere into our format: one generations file each, graded.

    invoke import-traces --kind plain FILE ... Kinds are qwen-eval (Qwen's evaluation output: code,
    score, pred_score), prmbench, processbench, and plain (problem, solution; if there: answer,
    reward, correct, finish, lists for several solutions). Solutions of the same question become
    traces of one problem. A reward and a verdict that the file has are kept beside ours; so are
    step scores of PRMs (scores: lists by name), labels of steps (first_error, or labels), and id,
    generator, style and subset.
    """

    files: tuple[str, ...] = option(help="jsonl files; may be given without the flag", key=False)
    name: str | None = option(None, help="name of the result, of one file", key=False)
    kind: Kind = option(help="format: qwen-eval, prmbench, processbench or plain")
    side: Side = option(
        "modified",
        help="process of a PRMBench item: modified, or original, which gives <name>_original.jsonl",
    )
    delimiter: str = option(
        r"\n\n",
        help=r"text between the steps of a solution that comes in one piece; \n is a newline",
    )
    extract: ExtractionRule = option(DEFAULT_RULE, help=EXTRACTION_HELP)

    def __post_init__(self) -> None:
        typed_delimiter(self.delimiter)
        if self.side == "original" and self.kind != "prmbench":
            raise ConfigError(f"--side original --kind {self.kind}: only prmbench has two sides")


def run(config: Config, settings: Settings) -> list[Path]:
    """Read, grade and write each file; return the generations files.

    Raises: MissingInput, BadRecord.
    """
    sources = given_files(config.files)
    outs = [
        imported_file(settings.data_dir, config.name or source, original=config.side == "original")
        for source in sources
    ]
    distinct("--files", config.files, outs)
    for source, out in zip(sources, outs, strict=True):
        if source.resolve() == out.resolve():
            raise ConfigError(
                f"--files {source}: it lies where its result would be written; move it elsewhere"
            )
        stage = Stage("import-traces", config, inputs={"traces": source}, out=out)
        if stage.is_done():
            continue
        delimiter = typed_delimiter(config.delimiter)
        # before anything is written
        solved = read_traces(
            source, config.kind, dataset=out.stem, side=config.side, delimiter=delimiter
        )
        with stage:
            rows = graded(solved, rule=config.extract)
            write_solved(stage.work, rows)
            stage.finish(
                [stage.work],
                rows=len(rows),
                extra={"kind": config.kind, "traces": sum(len(row.traces) for row in rows)},
            )
    return outs
