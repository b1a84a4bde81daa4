"""`infer-with-prm`: step-level search with a policy, guided by a process reward model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.engines import EngineName
from rewardscope.errors import ConfigError
from rewardscope.log import get_logger, progress
from rewardscope.paths import generations_file
from rewardscope.prms import DEFAULT_PRM, Beyond, PrmEngineName
from rewardscope.problems.prompts import PromptForm
from rewardscope.problems.steps import typed_delimiter
from rewardscope.records import Problem
from rewardscope.search.aggregate import AGGREGATION_HELP, Aggregation, check_aggregation
from rewardscope.search.methods import METHODS, find_method
from rewardscope.settings import Settings
from rewardscope.stage import Stage, option
from rewardscope.stages.generating import (
    GeneratingConfig,
    fitting_prompts,
    for_each_dataset,
    prompt_record,
    step_format,
)
from rewardscope.stages.grading import graded
from rewardscope.stages.model_flags import check_model
from rewardscope.stages.policy_flags import GPU_SHARE_BESIDE_A_PRM
from rewardscope.storage.jsonl import PartialRows

if TYPE_CHECKING:
    from rewardscope.engines import Engine
    from rewardscope.prms import Scorer
    from rewardscope.problems.thinking import StepFormat
    from rewardscope.search.guided import SearchConfig


@dataclass(frozen=True, kw_only=True)
class Config(GeneratingConfig):
    r"""Generate solutions by step-level search, guided by a PRM.

    A problem starts with n samples of a first step; then some beams live on, as --search says, and
    each is continued width times, until the best have ended. Many problems advance together. Writes
    <model>_<data set>_beam_search_prm.jsonl, or the method's name.
    """

    model_name: str = option(help="hub id or folder of the policy", model=True)
    prm: str = option(DEFAULT_PRM, help="hub id or folder of the PRM", model=True)
    search: str = option(
        "beam", help="; ".join(f"{each.name}: {each.summary}" for each in METHODS.values())
    )
    n: int = option(16, help="beams; a multiple of --width", at_most=100_000)
    width: int = option(4, help="continuations of each beam that lives on; n / width live on")
    max_steps: int = option(40, help="steps; the last round runs to the end of the solution")
    max_step_tokens: int = option(
        512, help="tokens of a step; a solution is cut at one that is longer"
    )
    max_tokens: int = option(
        2048, help="tokens of the last round, and of a whole solution of best-of-n"
    )
    max_thinking_tokens: int = option(
        8192, help="tokens of a root's thoughts, where --shown is solution"
    )
    prm_window: int | None = option(
        None,
        help=(
            "tokens of an input that the PRM was trained for (default: the positions of its config)"
        ),
    )
    beyond_window: Beyond = option(
        "drop", help="a candidate beyond that: drop it, or score it all the same and mark its trace"
    )
    delimiter: str = option(r"\n\n", help=r"text between steps; \n is a newline")
    aggregation: Aggregation = option(
        "last", help=f"of step scores, to rank beams: {AGGREGATION_HELP}"
    )
    temperature: float = option(0.8, help="sampling temperature, above 0")
    engine: EngineName = option(
        "auto",
        help=(
            "of the policy: vllm, hf, server (with --base-url), or auto (vllm where it is installed"
            " and a GPU is there)"
        ),
    )
    prm_engine: PrmEngineName = option("auto", help="of the PRM: vllm, hf, or auto (hf)")
    prm_device: str | None = option(
        None, help="where the PRM computes (default: --device)", key=False
    )
    pool: int = option(
        64, help="problems that are searched at once; the next one starts where one ends", key=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts(
            "n",
            "width",
            "max_steps",
            "max_step_tokens",
            "max_tokens",
            "max_thinking_tokens",
            "prm_window",
            "pool",
        )
        if self.n % self.width:
            raise ConfigError(
                f"--n {self.n} --width {self.width}: n must be a multiple of width, such as"
                f" {self.width * max(1, self.n // self.width)}"
            )
        if self.asks_by_chat:
            raise ConfigError(
                "a policy that is asked by chat cannot continue a solution; pass a --base-url that"
                " serves completions, and its folder or hub id as --model-name"
            )
        find_method(self.search)
        check_aggregation(self.aggregation)
        typed_delimiter(self.delimiter)
        if not self.temperature > 0:
            raise ConfigError(
                f"--temperature {self.temperature}: it must be above 0, or all continuations of a"
                " beam are the same"
            )


def run(config: Config, settings: Settings) -> list[Path]:
    """Search the problems of each data set; return the generations files.

    Raises: PipelineError, before a model is loaded where that can be known.
    """
    config = config.resolved()
    form = config.prompt_form()
    outs = [
        generations_file(
            settings.data_dir,
            config.name or config.model_name,
            name,
            suffix=find_method(config.search).suffix,
        )
        for name in config.datasets
    ]

    def work(pending: Sequence[tuple[Stage, list[Problem]]]) -> None:
        from rewardscope.prms import find_adapter, load_scorer

        config.check_policy()
        check_model("--prm", config.prm)
        find_adapter(config.prm)
        engine = config.load_policy(settings, gpu_share=GPU_SHARE_BESIDE_A_PRM)
        scorer = load_scorer(
            config.prm,
            engine=config.prm_engine,
            device=config.prm_device or config.device,
            dtype=config.dtype,
            growing=True,
            window=config.prm_window,
            beyond=config.beyond_window,
        )
        for stage, problems in pending:
            with stage:
                _search(problems, engine, scorer=scorer, stage=stage, config=config, prompt=form)

    inputs = {"policy": config.model_name, "prm": config.prm}
    return for_each_dataset("infer-with-prm", config, settings, inputs=inputs, outs=outs, work=work)


def _search(
    problems: Sequence[Problem],
    engine: "Engine",
    *,
    scorer: "Scorer",
    stage: Stage,
    config: Config,
    prompt: PromptForm,
) -> None:
    """Search, keep each problem as it is done, then grade and write the file and the manifest."""
    from rewardscope.engines.server import served_record
    from rewardscope.search.guided import guided_search

    prompts, skipped = fitting_prompts(problems, engine, prompt)
    partial, dropped = PartialRows(stage.work, stage.key), Counter()
    todo = [
        problem for problem in problems if problem.id in prompts and problem.id not in partial.done
    ]
    form = step_format(config, engine, prompt, delimiter=typed_delimiter(config.delimiter))
    search = _search_config(config, form, prompt)
    found = guided_search(todo, engine, scorer=scorer, config=search, at_once=config.pool)
    for searched in progress(
        found, f"infer-with-prm {stage.out.stem}", total=len(todo), unit="problem"
    ):
        dropped += searched.dropped
        partial.add([searched.solved])
    for reason, count in (*skipped.items(), *dropped.items()):
        get_logger().warning(f"infer-with-prm: left out {count} times: {reason}")
    rows = partial.finish(prompts, complete=lambda found: graded(found, rule=config.extract))
    resumed = len(prompts) - len(todo)
    stage.finish(
        [stage.work],
        rows=rows,
        skipped=skipped,
        extra={
            "dropped": dict(dropped),
            "problems_from_an_earlier_run": resumed,
            **served_record(engine),
            **prompt_record(prompt),
        },
    )


def _search_config(config: Config, form: "StepFormat", prompt: PromptForm) -> "SearchConfig":
    from rewardscope.search.guided import SearchConfig

    return SearchConfig(
        method=find_method(config.search),
        n=config.n,
        width=config.width,
        max_steps=config.max_steps,
        max_step_tokens=config.max_step_tokens,
        max_tokens=config.max_tokens,
        max_thinking_tokens=config.max_thinking_tokens,
        form=form,
        aggregation=config.aggregation,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
        top_k=config.top_k,
        min_p=config.min_p,
        prompt=prompt,
    )
