"""Pairs of a right solution and the same one edited: by rule, or as PRMBench publishes them."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rewardscope.errors import BadRecord
from rewardscope.problems.edits import Edited, Kind, Rule, Written
from rewardscope.problems.prm_benchmark_metrics import ALL_CORRECT
from rewardscope.problems.prm_benchmarks import (
    PRMBENCH_FIELDS,
    PROCESSBENCH_FIELDS,
    read_benchmark,
    without_number,
)
from rewardscope.problems.tinymath import make_problems
from rewardscope.problems.tinymath_instruct import instruct_steps
from rewardscope.storage.jsonl import read_rows, read_solved


class Pair(NamedTuple):
    """A right solution and what a rule makes of it."""

    problem: str
    rule: str
    kind: Kind
    question: str
    steps: tuple[str, ...]
    edited: Edited


class RightSolution(NamedTuple):
    """A right solution, or what comes before its first wrong step."""

    problem: str
    question: str
    steps: tuple[str, ...]


class RightSolutions(NamedTuple):
    """What a source holds."""

    solutions: list[RightSolution]
    pairs: list[Pair]
    """Those that it publishes."""
    left_out: Counter[str]
    """Solutions of which nothing is known to be right, by reason."""


def read_right(source: str | Path, *, limit: int) -> RightSolutions:
    """Read the first `limit` solutions of `tinymath`, of a file of generations, of ProcessBench or
    of PRMBench.

    What follows a wrong step is cut off: a PRM's scores of a beginning do not depend on it.
    Raises: MissingInput; BadRecord with the line.
    """
    if str(source) == "tinymath":
        return RightSolutions(_of_tinymath(limit), [], Counter())
    path = Path(source)
    first = next(iter(read_rows(path)), {})
    if set(PRMBENCH_FIELDS) <= first.keys():
        return _of_prmbench(path, limit)
    if set(PROCESSBENCH_FIELDS) <= first.keys():
        read = read_benchmark(path).solutions[:limit]
        rows = [(one.question, one.question, one.steps, one.labels) for one in read]
    else:
        rows = [
            (
                solved.problem.id,
                solved.problem.question,
                trace.steps,
                trace.labels or (trace.correct,) * len(trace.steps),
            )
            for solved in read_solved(path)
            for trace in solved.traces
        ][:limit]
    found, left_out = [], Counter[str]()
    for problem, question, steps, labels in rows:
        n_right = next((i for i, label in enumerate(labels) if label is not True), len(labels))
        if n_right:
            found.append(RightSolution(problem, question, steps[:n_right]))
        else:
            left_out["no step is known to be right"] += 1
    return RightSolutions(found, [], left_out)


def edited_pairs(
    solutions: Sequence[RightSolution], rules: Sequence[Rule], *, seed: int, every: bool = False
) -> tuple[list[Pair], Counter[str]]:
    """Return a pair for each rule and solution to which it applies, and by rule how often not."""
    questions = list(dict.fromkeys(solution.question for solution in solutions))
    # everybody gets the question of the next one in a random round
    random.Random(f"other-question|{seed}").shuffle(questions)
    others = dict(zip(questions, [*questions[1:], *questions[:1]], strict=True))
    pairs, unfit = [], Counter[str]()
    for rule in rules:
        for problem, question, steps in solutions:
            written = Written(question, steps, others[question])
            edited = rule.apply(written, seed=seed, every=every)
            if edited is None:
                unfit[rule.name] += 1
            else:
                pairs.append(Pair(problem, rule.name, rule.kind, question, steps, edited))
    return pairs, unfit


def _of_tinymath(limit: int) -> list[RightSolution]:
    """Return solutions in the instruct style of the first test problems."""
    rng = random.Random("tinymath-right")
    return [
        RightSolution(f"tinymath/{number}", problem.question, tuple(instruct_steps(problem, rng)))
        for number, problem in enumerate(make_problems(limit, split="test", seed=0))
    ]


def _of_prmbench(path: Path, limit: int) -> RightSolutions:
    """Return the original processes, and each beside its modified one as a pair."""
    solutions: dict[tuple[str, tuple[str, ...]], RightSolution] = {}
    pairs = []
    for number, row in enumerate(read_rows(path), start=1):
        if number > limit:
            break
        try:
            pair = _published(row)
        except BadRecord as error:
            raise BadRecord(f"{path} line {number}: {error}") from None
        own = RightSolution(pair.problem, pair.question, pair.steps)
        solutions.setdefault((own.question, own.steps), own)
        pairs.append(pair)
    return RightSolutions(list(solutions.values()), pairs, Counter())


def _published(row: Mapping[str, Any]) -> Pair:
    original, steps, modified, edited = (
        row.get(name)
        for name in (
            "original_question",
            "original_process",
            "modified_question",
            "modified_process",
        )
    )
    sides = (_texts(steps, "original_process"), _texts(edited, "modified_process"))
    if not isinstance(original, str) or not isinstance(modified, str):
        raise BadRecord("original_question and modified_question are no two texts")
    before, after = sides
    kind: Kind = "preserving" if row["classification"] == ALL_CORRECT else "changing"
    wrong = [at - 1 for at in row["error_steps"] if isinstance(at, int) and 0 < at <= len(after)]
    same = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)) - 1,
    )
    at = min([*wrong, len(after) - 1]) if kind == "changing" and wrong else same
    ends: list[int | None] = [i if i < same else None for i in range(len(after))]
    # where the two have parted, the edited step stands beside the one in its place
    ends[at] = min(at, len(before) - 1)
    ends[-1] = len(before) - 1
    made = Edited(modified, after, tuple(ends), at)
    return Pair(original, f"prmbench {row['classification']}", kind, original, before, made)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(x, str) for x in value):
        raise BadRecord(f"{name} is no list of texts")
    return tuple(without_number(step) for step in value)


def kinds_of(pairs: Sequence[Pair]) -> dict[str, Kind]:
    """Return the kind of each rule of the pairs."""
    return {pair.rule: pair.kind for pair in pairs}
