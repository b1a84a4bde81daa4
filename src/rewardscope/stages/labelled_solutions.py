"""Solutions with what is known of their steps, as a PRM takes them: of generations, ProcessBench
and PRMBench.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.log import get_logger
from rewardscope.records import Manifest, Problem, Trace
from rewardscope.sae.formats import CONFIG
from rewardscope.sae.formats.configs import TrainedWith, read_config
from rewardscope.sae.model.runs import SaeRun
from rewardscope.stage import require
from rewardscope.storage.jsonl import read_rows, read_solved
from rewardscope.storage.manifests import read_manifest

if TYPE_CHECKING:
    from rewardscope.prms.scorer import HfScorer
    from rewardscope.problems.tinymath import TinyProblem
    from rewardscope.sae.measure.reward_kept import Solution

# whether each step is right (1), wrong (0) or unknown (-1)
Labelled = tuple[Problem, Trace, tuple[int, ...]]


def solutions_and_prm(named: Path, *, prm: str | None, sae: SaeRun, flag: str) -> tuple[Path, str]:
    """Return the file of solutions and the PRM: of a folder of save-acts those it was made of.

    Raises: MissingInput, ConfigError.
    """
    captured = {}
    if named.is_dir():
        captured = (read_manifest(named) or Manifest()).extra
        if "generations" not in captured:
            raise MissingInput(
                f"{named} is no finished folder of save-acts; name one, or a generations file"
            )
        if captured.get("mode", "rm") != "rm":
            raise ConfigError(
                f"{named} holds the states of a policy, which has no rewards; name one of save-acts"
                " --mode rm"
            )
        named = require(Path(captured["generations"]), captured["generations"], "infer")
    chosen = prm or captured.get("prm") or _trained_with(sae)
    if chosen is None:
        raise ConfigError(f"--ds-name {flag}: neither it nor the SAE says which PRM; pass --prm")
    return named, chosen


def _trained_with(sae: SaeRun) -> str | None:
    first = next(iter(sae.layers.values()))
    config = (first if first.is_dir() else first.parent) / CONFIG
    found = read_config(config, TrainedWith) if config.is_file() else TrainedWith()
    return found.metadata.prm or found.metadata.model_name


def read_labelled(source: Path, *, check_tinymath: bool = False) -> Iterator[Labelled]:
    """Yield solutions with what is known of their steps: the labels that they carry, else whether
    the whole trace is right.

    With `check_tinymath` the steps of tinymath solutions in the instruct style are checked by the
    chain of their problem.
    """
    from rewardscope.problems.prm_benchmarks import (
        PRMBENCH_FIELDS,
        PROCESSBENCH_FIELDS,
        read_benchmark,
    )

    first = next(iter(read_rows(source)), {})
    if any(set(fields) <= first.keys() for fields in (PROCESSBENCH_FIELDS, PRMBENCH_FIELDS)):
        for solution in read_benchmark(source).solutions:
            question = solution.question
            problem = Problem(id=question, dataset=solution.benchmark, question=question, answer="")
            trace = Trace(
                problem_id=solution.id,
                index=0,
                steps=solution.steps,
                scores=None,
                finish="eos",
                n_tokens=None,
                labels=solution.labels,
            )
            yield problem, trace, _as_numbers(solution.labels)
        return
    for solved in read_solved(source):
        for trace in solved.traces:
            labels = trace.labels
            if check_tinymath:
                labels = step_labels(solved.problem, trace)
            yield solved.problem, trace, _as_numbers(labels or (trace.correct,) * len(trace.steps))


def step_labels(problem: Problem, trace: Trace) -> Sequence[bool | None] | None:
    """Return whether each step is right: the labels that the trace carries, else by the chain of a
    tinymath problem; None where neither says it.
    """
    return trace.labels or _checked(problem, trace)


def _as_numbers(labels: Sequence[bool | None]) -> tuple[int, ...]:
    return tuple(-1 if label is None else int(label) for label in labels)


def _checked(problem: Problem, trace: Trace) -> list[bool] | None:
    """Return of each step whether it and those before it are right by the chain of the problem;
    None where the problem is not of tinymath, or the solution not in the style that is checked.
    """
    from rewardscope.problems.tinymath_instruct import judge_steps

    number = problem.id.rpartition("/")[2]
    if problem.dataset != "tinymath" or not number.isdigit() or trace.n_thinking:
        return None
    known = _tinymath()
    if int(number) >= len(known) or known[int(number)].question != problem.question:
        return None
    if any("<think>" in step for step in trace.steps):
        return None
    verdicts = judge_steps(known[int(number)], list(trace.steps))
    # a right answer by steps that are not those of the chain: another style
    return None if trace.correct and not all(verdicts) else verdicts


@lru_cache(maxsize=1)
def _tinymath() -> "list[TinyProblem]":
    from rewardscope.problems.tinymath import make_problems

    return make_problems(500, split="test", seed=0)


def held_out_only(
    labelled: list[Labelled], sae: SaeRun, *, every_problem: bool, limit: int, task: str, flag: str
) -> list[Labelled]:
    """Return the first solutions of problems that the SAE was not trained on, of all where that is
    not known. Raises: MissingInput where there is none.
    """
    held_out = (read_manifest(sae.root) or Manifest()).extra.get("held_out_problems")
    if not every_problem:
        if held_out is None:
            get_logger().info(
                f"{task}: {sae.root} does not say which problems were held out; all are measured"
            )
        else:
            known = set(held_out)
            labelled = [row for row in labelled if row[0].id in known]
    if not labelled:
        raise MissingInput(
            f"{flag}: none of its problems was held out by {sae.root}; pass --problems all"
        )
    return labelled[:limit]


def encode_labelled(
    labelled: list[Labelled], scorer: "HfScorer", *, task: str
) -> "tuple[list[Solution], dict[str, int]]":
    """Return the solutions that the PRM can score, and how many it cannot, by reason.

    Raises: MissingInput where it can score none.
    """
    from rewardscope.capturing.inputs import PrmEncoder
    from rewardscope.sae.measure.reward_kept import Solution

    encoder = PrmEncoder(scorer.adapter, scorer.tokenizer, max_positions=scorer.max_positions)
    solutions, skipped, example = [], Counter[str](), ""
    for problem, trace, right in labelled:
        try:
            encoded = encoder.encode(problem.question, trace)
        except BadRecord as error:
            skipped["not encodable by the PRM"] += 1
            example = example or f"; the first: {error}"
            continue
        start = encoder.start(problem.question)
        solutions.append(Solution(problem.id, encoded, start, right, trace.correct))
    if not solutions:
        raise MissingInput(f"{task}: the PRM can score none of {len(labelled)} solutions{example}")
    if skipped:
        get_logger().warning(
            f"{task}: left out {skipped.total()} of {len(labelled)} solutions{example}"
        )
    return solutions, dict(skipped)
