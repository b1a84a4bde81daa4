"""What `infer` and `infer-with-prm` share: data sets, parts of them, and the problems that fit the
policy.
"""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rewardscope.errors import ConfigError
from rewardscope.paths import generations_part_file
from rewardscope.problems.datasets import DEFAULT_DATASETS, load_problems
from rewardscope.problems.extraction import DEFAULT_RULE, EXTRACTION_HELP, ExtractionRule
from rewardscope.problems.prompts import PLAIN, PromptForm, encode_prompt, policy_prompt
from rewardscope.problems.steps import DELIMITER
from rewardscope.problems.thinking import Shown, StepFormat, ThinkingName, find_format
from rewardscope.records import Problem
from rewardscope.settings import Settings
from rewardscope.stage import MOST_PARTS, Stage, Units, check_part, deal, distinct, option
from rewardscope.stages.policy_flags import PolicyFlags
from rewardscope.storage.jsonl import read_rows, write_rows
from rewardscope.storage.manifests import read_manifest

if TYPE_CHECKING:
    from rewardscope.engines import Engine

PROMPT_TOO_LONG = "problem whose prompt fills the policy's positions"
Work = Callable[[Sequence[tuple[Stage, list[Problem]]]], None]


@dataclass(frozen=True, kw_only=True)
class GeneratingConfig(PolicyFlags):
    """The flags of every stage that generates solutions for the problems of data sets."""

    datasets: tuple[str, ...] = option(
        DEFAULT_DATASETS, help="hub ids, jsonl / json / parquet files, or tinymath", key=False
    )
    name: str | None = option(
        None, help="stands for the policy in the name of the result", key=False
    )
    limit: int | None = option(None, help="at most this many problems of each data set, the first")
    part: int = option(1, help="which part of the problems to do, from 1", key=False)
    total: int = option(
        1,
        help="how many parts the problems are dealt to; the last part done joins them",
        key=False,
        at_most=MOST_PARTS,
    )
    thinking: ThinkingName = option(
        "auto",
        help=(
            "how the policy marks thoughts: think (<think>), harmony (gpt-oss channels), none, or"
            " auto (by its chat template)"
        ),
    )
    shown: Shown = option(
        "all", help="which text makes steps, which a PRM is shown: all (thoughts too), or solution"
    )
    extract: ExtractionRule = option(DEFAULT_RULE, help=EXTRACTION_HELP)
    seed: int = option(0, help="seed; a problem's samples do not depend on the other problems")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("limit")
        check_part(self.part, self.total)
        if not self.datasets:
            raise ConfigError("--datasets: at least one data set is needed")


def for_each_dataset(
    name: str,
    config: GeneratingConfig,
    settings: Settings,
    *,
    inputs: Mapping[str, str],
    outs: Sequence[Path],
    work: Work,
) -> list[Path]:
    """Let `work` do the data sets that are not done, all in one call so that it loads models once;
    return the generations files.

    Each comes as the stage to finish and its problems: one part of them where `config` deals the
    work to several.
    Raises: PipelineError, before `work` loads a model.
    """
    distinct("--datasets", config.datasets, outs)
    units = []
    for dataset, out in zip(config.datasets, outs, strict=True):
        whole = Stage(name, config, inputs={**inputs, "dataset": dataset}, out=out)
        place = functools.partial(generations_part_file, out, total=config.total)
        units.append(Units(whole, part=config.part, total=config.total, place=place))
    pending = [
        (dataset, unit.own)
        for dataset, unit in zip(config.datasets, units, strict=True)
        if not unit.is_done()
    ]
    if pending:
        problems = [
            load_problems(dataset, limit=config.limit, hf_token=settings.hf_token)
            for dataset, _ in pending
        ]
        work(
            [
                (stage, deal(all_, part=config.part, total=config.total))
                for (_, stage), all_ in zip(pending, problems, strict=True)
            ]
        )
    for unit in units:
        unit.join(_join_generations)
    return list(outs)


def _join_generations(whole: Stage, parts: Sequence[Path]) -> None:
    """Write the file of all parts; it is that of one run, but for times."""
    manifests = [manifest for manifest in map(read_manifest, parts) if manifest]
    rows = write_rows(whole.work, (row for part in parts for row in read_rows(part)))
    skipped = Counter[str]()
    for manifest in manifests:
        skipped.update(manifest.skipped)
    whole.finish(
        [whole.work], rows=rows, skipped=skipped, extra={**manifests[0].extra, "parts": len(parts)}
    )


def fitting_prompts(
    problems: Sequence[Problem], engine: "Engine", form: PromptForm
) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Return the prompt of each problem that leaves the policy a position, by problem id, and how
    many were left out, by reason.
    """
    prompts = {
        problem.id: encode_prompt(engine.tokenizer, problem.question, form) for problem in problems
    }
    fitting = {
        problem_id: prompt
        for problem_id, prompt in prompts.items()
        if len(prompt) < engine.max_positions
    }
    return fitting, (
        {PROMPT_TOO_LONG: len(prompts) - len(fitting)} if len(fitting) < len(prompts) else {}
    )


def step_format(
    config: GeneratingConfig, engine: "Engine", form: PromptForm, *, delimiter: str = DELIMITER
) -> StepFormat:
    """Return how the policy's texts are cut into steps."""
    prompt = policy_prompt(engine.tokenizer, "1 + 1 = ?", form)
    return find_format(
        engine.tokenizer,
        prompt,
        thinking=config.thinking,
        delimiter=delimiter,
        shown=config.shown,
        template=form.template,
    )


def prompt_record(form: PromptForm) -> dict[str, Any]:
    """Return what a manifest says of prompts that are not the usual ones, in full."""
    return {} if form == PLAIN else {"prompt_form": msgspec.to_builtins(form)}
