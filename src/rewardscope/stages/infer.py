"""`infer`: a policy solves problems alone."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.errors import ConfigError
from rewardscope.log import get_logger, progress
from rewardscope.paths import generations_file
from rewardscope.problems.prompts import PromptForm
from rewardscope.problems.thinking import StepFormat
from rewardscope.records import Completion, Cost, Problem, SolvedProblem
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
from rewardscope.stages.policy_flags import GPU_SHARE
from rewardscope.storage.jsonl import PartialRows

if TYPE_CHECKING:
    from rewardscope.engines import Engine


@dataclass(frozen=True, kw_only=True)
class Config(GeneratingConfig):
    """Generate solutions with a policy alone, n samples a problem.

    All problems of a chunk are generated together. Writes <model>_<data set>.jsonl, graded.
    """

    n: int = option(1, help="samples of each problem", at_most=100_000)
    temperature: float | None = option(
        None, help="0 is greedy (default: 0 for one sample, 0.8 for more)"
    )
    max_tokens: int = option(4096, help="tokens of a solution")
    chunk: int = option(
        256,
        help=(
            "problems that are generated together; a killed run goes on after the last whole chunk"
        ),
        key=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("n", "max_tokens", "chunk")
        if self.temperature is not None and self.temperature < 0:
            raise ConfigError(f"--temperature {self.temperature}: it must be 0 or more")
        if self.temperature == 0 and self.n > 1:
            raise ConfigError(
                f"--temperature 0 --n {self.n}: greedy samples are all the same; pass a temperature"
                " above 0"
            )

    @property
    def used_temperature(self) -> float:
        """The temperature, resolved."""
        return (0.0 if self.n == 1 else 0.8) if self.temperature is None else self.temperature


def run(config: Config, settings: Settings) -> list[Path]:
    """Solve the problems of each data set; return the generations files.

    Raises: PipelineError, before a model is loaded where that can be known.
    """
    config = config.resolved()
    form = config.prompt_form()
    outs = [
        generations_file(settings.data_dir, config.name or config.model_name, name)
        for name in config.datasets
    ]

    def work(pending: Sequence[tuple[Stage, list[Problem]]]) -> None:
        engine = config.load_policy(settings, gpu_share=GPU_SHARE)
        for stage, problems in pending:
            with stage:
                _infer(problems, engine, stage=stage, config=config, form=form)

    return for_each_dataset(
        "infer", config, settings, inputs={"policy": config.model_name}, outs=outs, work=work
    )


def _infer(
    problems: Sequence[Problem], engine: "Engine", *, stage: Stage, config: Config, form: PromptForm
) -> None:
    """Generate chunk by chunk, keep each as it is done, then write the file and the manifest."""
    from rewardscope.engines import choose_engine
    from rewardscope.engines.server import served_record

    prompts, skipped = fitting_prompts(problems, engine, form)
    for reason, count in skipped.items():
        get_logger().warning(f"infer: left out {count} times: {reason}")
    partial, steps = PartialRows(stage.work, stage.key), step_format(config, engine, form)
    todo = [
        problem for problem in problems if problem.id in prompts and problem.id not in partial.done
    ]
    chunks = [todo[start : start + config.chunk] for start in range(0, len(todo), config.chunk)]
    for chunk in progress(chunks, f"infer {stage.out.stem}", unit="chunk"):
        started = time.perf_counter()
        outputs = engine.generate(
            [prompts[problem.id] for problem in chunk],
            n=config.n,
            stop=(),
            temperature=config.used_temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            min_p=config.min_p,
            max_tokens=config.max_tokens,
            seeds=[problem_seed(config.seed, problem.id) for problem in chunk],
        )
        seconds = (time.perf_counter() - started) / len(chunk)
        solved = [
            solved_by(
                problem,
                output,
                form=steps,
                cost=sampling_cost(engine, len(prompts[problem.id]), output, seconds),
            )
            for problem, output in zip(chunk, outputs, strict=True)
        ]
        partial.add(graded(solved, rule=config.extract))
    rows = partial.finish(prompts)
    used = {
        "temperature": config.used_temperature,
        "engine": choose_engine(config.engine, config.device),
        **served_record(engine),
        **prompt_record(form),
    }
    stage.finish([stage.work], rows=rows, skipped=skipped, extra=used)


def problem_seed(seed: int, problem_id: str) -> int:
    """Return a seed of 31 bits that depends on these two alone."""
    return (
        int.from_bytes(
            hashlib.blake2b(f"{seed}|{problem_id}".encode(), digest_size=8).digest(), "big"
        )
        >> 33
    )


def sampling_cost(
    engine: "Engine", n_prompt: int, completions: Sequence[Completion], seconds: float
) -> Cost:
    """Return what the samples of one prompt cost; the prompt is run once for all."""
    lengths = [completion.n_tokens or 0 for completion in completions]
    flops = engine.flops.of(0, n_prompt) + sum(
        engine.flops.of_sampling(n_prompt, length) for length in lengths
    )
    return Cost(
        policy_tokens=sum(lengths),
        policy_forwards=max(lengths),
        policy_flops=flops,
        seconds=round(seconds, 6),
    )


def solved_by(
    problem: Problem, completions: Sequence[Completion], *, form: StepFormat, cost: Cost
) -> SolvedProblem:
    """Return the samples as traces; the first is the one that the method answers with."""
    traces = [
        form.trace(problem.id, index, completion) for index, completion in enumerate(completions)
    ]
    return SolvedProblem(problem=problem, traces=tuple(traces), chosen=0, cost=cost)
