"""What tests of save-acts share: a small random PRM, generations, and the stage run on them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardscope.capturing import batches, saving
from rewardscope.prms import load_scorer
from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.settings import Settings
from rewardscope.stages.save_acts import Config, run
from rewardscope.storage import shards
from rewardscope.storage.acts import ActStore
from rewardscope.storage.jsonl import read_solved, write_rows
from tests.unit.prms.tiny_prm import random_solutions

LAYERS, POSITIONS = 3, 512
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
SMALL_SHARD, SMALL_GROUP = 16, 100


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let shards and groups be so small that a few traces fill many."""
    monkeypatch.setattr(saving, "SHARD_ROWS", SMALL_SHARD)
    monkeypatch.setattr(shards, "SHARD_ROWS", SMALL_SHARD)
    monkeypatch.setattr(batches, "GROUP_TOKENS", SMALL_GROUP)


def trace(
    problem: str, index: int, steps: list[str], scores: tuple[float, ...] | None = None
) -> Trace:
    return Trace(
        problem_id=problem,
        index=index,
        steps=tuple(steps),
        scores=scores,
        finish="eos",
        n_tokens=9,
        answer="4",
        correct=[True, False, None][index % 3],
    )


def write_generations(
    path: Path, *, n: int = 12, prm: str | None = None, extra: list[list[str]] | None = None
) -> Path:
    """Write `n` problems of two traces, scored by `prm` where one is given;

    `extra` are further traces of the first problem.
    """
    scorer = load_scorer(prm, engine="hf", device="cpu") if prm else None
    rows = []
    for number, (question, steps) in enumerate(random_solutions(n, seed=1)):
        problem = Problem(id=f"toy/{number}", dataset="toy", question=question, answer="4")
        solutions = [steps, steps[::-1], *(extra or [] if number == 0 else [])]
        scores = (
            scorer.score([scorer.encode(question, solution) for solution in solutions])
            if scorer
            else [None] * len(solutions)
        )
        traces = tuple(
            trace(problem.id, index, solution, scores[index])
            for index, solution in enumerate(solutions)
        )
        rows.append(SolvedProblem(problem=problem, traces=traces, chosen=0).to_dict())
    write_rows(path, rows)
    return path


def save(path: Path, prm: str, **flags: object) -> ActStore:
    """Run the stage and open its folder."""
    return ActStore(run_stage(path, prm=prm, **flags))


def run_stage(path: Path, **flags: object) -> Path:
    """Run the stage beside its input."""
    return run(Config(ds_name=str(path), device="cpu", **flags), Settings(data_dir=path.parent))


def solutions_of(path: Path) -> Iterator[tuple[str, Trace]]:
    for solved in read_solved(path):
        for one in solved.traces:
            yield solved.problem.question, one


def prompt_of(question: str, steps: tuple[str, ...]) -> str:
    turns = (
        ("system", SYSTEM),
        ("user", question),
        ("assistant", "".join(f"{step}<extra_0>" for step in steps)),
    )
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
