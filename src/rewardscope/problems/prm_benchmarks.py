"""ProcessBench and PRMBench: solutions whose wrong steps are known.

Sources: ProcessBench, arXiv 2412.06559; PRMBench, arXiv 2501.03124.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.problems.import_fields import (
    GENERATOR_FIELDS,
    STYLE_FIELDS,
    Labels,
    step_scores,
    text_or_nothing,
)
from rewardscope.problems.steps import first_wrong_labels
from rewardscope.records import Problem, Trace
from rewardscope.storage.jsonl import iter_solved, numbered_rows, read_rows

Benchmark = Literal["processbench", "prmbench"]
PROCESSBENCH_FIELDS = ("problem", "steps", "label")
PRMBENCH_FIELDS = ("modified_question", "modified_process", "error_steps", "classification")

_NUMBERED = re.compile(r"(?:step\s*)?\d+\.(?!\d)\s*", re.IGNORECASE)


class LabelledSolution(NamedTuple):
    """One solution whose wrong steps are known."""

    id: str
    benchmark: Benchmark
    category: str
    """The subset of ProcessBench, or the kind of error of PRMBench."""
    question: str
    steps: tuple[str, ...]
    wrong: tuple[int, ...]
    """Positions of wrong steps from 0: of ProcessBench the first one, of PRMBench all."""
    unknown: tuple[int, ...] = ()
    """Positions of steps of which nothing is known."""
    scores: Mapping[str, tuple[float, ...]] = {}
    """Of each step, as the file says, by the name of the PRM."""
    generator: str = ""
    style: str = ""

    @property
    def labels(self) -> Labels:
        """Say of each step whether it is right; None after the first wrong one of ProcessBench."""
        if self.benchmark == "processbench":
            return first_wrong_labels(len(self.steps), self.wrong[0] if self.wrong else -1)
        return tuple(
            None if place in self.unknown else place not in self.wrong
            for place in range(len(self.steps))
        )


class LabelledSolutions(NamedTuple):
    """What a file holds."""

    solutions: list[LabelledSolution]
    repeated: list[str]
    """Ids that come again; the first solution counts, as published."""
    beyond: list[str]
    """Ids of solutions with a wrong step after the last step; that label counts for nothing, as
    published.
    """
    unlabelled: Sequence[str] = ()
    """Ids of imported traces without labels, which are left out."""


def read_benchmark(path: Path) -> LabelledSolutions:
    """Read one jsonl file of either benchmark, or imported traces with labels.

    Raises: MissingInput; BadRecord with the line's number.
    """
    rows = read_rows(path)
    first = next(rows, None)
    if first is not None and "traces" in first:
        return _imported(path)
    solutions: dict[str, LabelledSolution] = {}
    repeated, beyond = [], []
    for number, row in numbered_rows(path):
        try:
            solution = _with_beside(_solution(row), row)
        except BadRecord as error:
            raise BadRecord(f"{path} line {number}: {error}") from None
        if solution.id in solutions:
            repeated.append(solution.id)
            continue
        if solution.wrong and max(solution.wrong) >= len(solution.steps):
            beyond.append(solution.id)
        solutions[solution.id] = solution
    if not solutions:
        raise MissingInput(f"{path} has no rows")
    return LabelledSolutions(list(solutions.values()), repeated, beyond)


def _imported(path: Path) -> LabelledSolutions:
    """Read a generations file: with the metrics of ProcessBench where nothing is known of the steps
    after a first wrong one, else with those of PRMBench.
    """
    traces = [(row.problem, trace) for row in iter_solved(path) for trace in row.traces]
    labelled = [
        (problem, trace, trace.labels) for problem, trace in traces if trace.labels is not None
    ]
    if not labelled:
        raise MissingInput(
            f"{path}: none of {len(traces)} traces has labels of its steps; import them with labels"
            " or first_error"
        )
    first_errors = all(_is_first_error(labels) for _, _, labels in labelled)
    items = Counter(trace.item for _, trace in traces)

    def name_of(problem: Problem, trace: Trace) -> str:
        return trace.item if items[trace.item] == 1 else f"{problem.id}/{trace.index}"

    solutions = [
        LabelledSolution(
            name_of(problem, trace),
            "processbench" if first_errors else "prmbench",
            problem.subset or "all",
            problem.question,
            trace.steps,
            tuple(place for place, label in enumerate(labels) if label is False),
            () if first_errors else tuple(i for i, label in enumerate(labels) if label is None),
            trace.scores_by,
            trace.generator,
            trace.style,
        )
        for problem, trace, labels in labelled
    ]
    unlabelled = [name_of(problem, trace) for problem, trace in traces if trace.labels is None]
    return LabelledSolutions(solutions, [], [], unlabelled)


def _is_first_error(labels: Labels) -> bool:
    first = next((place for place, label in enumerate(labels) if label is False), len(labels))
    return labels == first_wrong_labels(len(labels), first if first < len(labels) else -1)


def _with_beside(solution: LabelledSolution, row: Mapping[str, Any]) -> LabelledSolution:
    """Add step scores, who wrote the solution and in which style, where a row says so."""
    (scores,) = step_scores(row, [len(solution.steps)])
    return solution._replace(
        scores=scores,
        generator=text_or_nothing(row, GENERATOR_FIELDS),
        style=text_or_nothing(row, STYLE_FIELDS),
    )


def _solution(row: Mapping[str, Any]) -> LabelledSolution:
    if all(field in row for field in PROCESSBENCH_FIELDS):
        solution_id, label = str(row.get("id", "")), row["label"]
        subset = solution_id.rpartition("-")[0] or "all"  # gsm8k-17
        solution = LabelledSolution(
            solution_id,
            "processbench",
            subset,
            str(row["problem"]),
            _texts(row["steps"]),
            _positions([] if label == -1 else [label]),
        )
    elif all(field in row for field in PRMBENCH_FIELDS):
        category = row["classification"]
        steps = tuple(without_number(step) for step in _texts(row["modified_process"]))
        # published from 1
        wrong = tuple(sorted({position - 1 for position in _positions(row["error_steps"])}))
        solution = LabelledSolution(
            f"{category}_{row.get('idx', '')}",
            "prmbench",
            category,
            str(row["modified_question"]),
            steps,
            wrong,
        )
    else:
        known = (
            f"ProcessBench ({', '.join(PROCESSBENCH_FIELDS)}) or PRMBench"
            f" ({', '.join(PRMBENCH_FIELDS)})"
        )
        raise BadRecord(f"not a row of {known}")
    if not solution.steps or any(position < 0 for position in solution.wrong):
        raise BadRecord(
            f"item {solution.id}: {len(solution.steps)} steps, wrong ones at {solution.wrong}"
        )
    return solution


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadRecord(f"steps {value!r:.60} are no list of texts")
    return tuple(value)


def _positions(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(position, int) for position in value):
        raise BadRecord(f"wrong steps {value!r:.60} are no list of whole numbers")
    return tuple(value)


def without_number(step: str) -> str:
    """Return a step without the number that it begins with:

    `Step 3. So x = 1` and `3. So x = 1` are `So x = 1`, as published.
    """
    return (
        _NUMBERED.sub("", step.strip(), count=1) if _NUMBERED.match(step.strip()) else step.strip()
    )
