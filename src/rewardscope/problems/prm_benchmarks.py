"""ProcessBench and PRMBench: their items, and their metrics as published, from the step scores of
any PRM. `prm_benchmark_report.py` puts intervals around them.

Sources: ProcessBench, arXiv 2412.06559; PRMBench, arXiv 2501.03124, and the evaluation code that
its authors publish.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.storage.jsonl import read_rows

Benchmark = Literal["processbench", "prmbench"]
PROCESSBENCH_FIELDS = ("problem", "steps", "label")
PRMBENCH_FIELDS = ("modified_question", "modified_process", "error_steps", "classification")
DIMENSIONS = {
    "simplicity": ("redundency", "circular"),  # spelled as published
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
ALL_CORRECT = "multi_solutions"  # has no wrong step, so its score is the F1 of right steps alone

_NUMBERED = re.compile(r"(?:step\s*)?\d+\.(?!\d)\s*", re.IGNORECASE)


class Item(NamedTuple):
    """One solution with its labels."""

    id: str
    benchmark: Benchmark
    category: str
    """The subset of ProcessBench, or the kind of error of PRMBench."""
    question: str
    steps: tuple[str, ...]
    wrong: tuple[int, ...]
    """Positions of wrong steps from 0: of ProcessBench the first one, of PRMBench all."""


class Items(NamedTuple):
    """What a file holds."""

    items: list[Item]
    repeated: list[str]
    """Ids that come again; the first item counts, as published."""
    beyond: list[str]
    """Ids of items with a wrong step after the last step; that label counts for nothing, as
    published.
    """


def read_benchmark(path: Path) -> Items:
    """Read one jsonl file of either benchmark.

    Raises: MissingInput; BadRecord with the line's number.
    """
    items: dict[str, Item] = {}
    repeated, beyond = [], []
    for number, row in enumerate(read_rows(path), start=1):
        try:
            item = _item(row)
        except BadRecord as error:
            raise BadRecord(f"{path} line {number}: {error}") from None
        if item.id in items:
            repeated.append(item.id)
            continue
        if item.wrong and max(item.wrong) >= len(item.steps):
            beyond.append(item.id)
        items[item.id] = item
    if not items:
        raise MissingInput(f"{path} has no rows")
    return Items(list(items.values()), repeated, beyond)


def _item(row: Mapping[str, Any]) -> Item:
    if all(field in row for field in PROCESSBENCH_FIELDS):
        item_id, label = str(row.get("id", "")), row["label"]
        subset = item_id.rpartition("-")[0] or "all"  # gsm8k-17
        item = Item(
            item_id,
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
        item = Item(
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
    if not item.steps or any(position < 0 for position in item.wrong):
        raise BadRecord(f"item {item.id}: {len(item.steps)} steps, wrong ones at {item.wrong}")
    return item


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


def first_wrong(scores: Sequence[float], threshold: float) -> int:
    """Return the position of the first step that does not score above the threshold, -1 where all
    do.
    """
    return next((position for position, score in enumerate(scores) if score <= threshold), -1)


def processbench_counts(item: Item, scores: Sequence[float], threshold: float) -> np.ndarray:
    """Return counts [4]: solutions with an error, those whose first error is found; solutions
    without, those found to be so.
    """
    found = first_wrong(scores, threshold)
    return np.array(
        [1, found == item.wrong[0], 0, 0] if item.wrong else [0, 0, 1, found == -1],
        dtype=np.float64,
    )


def processbench_f1(counts: np.ndarray) -> float:
    """Return the harmonic mean of the accuracy on solutions with an error and on those without;

    NaN where one kind is missing.
    """
    if not counts[0] or not counts[2]:
        return float("nan")
    on_errors, on_correct = counts[1] / counts[0], counts[3] / counts[2]
    return (
        float(2 * on_errors * on_correct / (on_errors + on_correct))
        if on_errors + on_correct
        else 0.0
    )


def prmbench_counts(item: Item, scores: Sequence[float], threshold: float) -> np.ndarray:
    """Return counts of steps [4]: right ones found right, wrong found right, wrong found wrong,
    right found wrong.
    """
    counts = np.zeros(4)
    for position, score in enumerate(scores):
        wrong, found_wrong = position in item.wrong, score <= threshold
        counts[(2 if wrong else 3) if found_wrong else (1 if wrong else 0)] += 1
    return counts


def prm_score(counts: np.ndarray, *, category: str | None) -> float:
    """Return half the F1 of right steps and half that of wrong ones; of `multi_solutions` the first
    alone. NaN without such steps.
    """
    true_right, false_right, true_wrong, false_wrong = counts
    right = _f1(true_right, false_right + false_wrong)
    return (
        right
        if category == ALL_CORRECT
        else 0.5 * right + 0.5 * _f1(true_wrong, false_right + false_wrong)
    )


def _f1(hits: float, misses: float) -> float:
    return float(2 * hits / (2 * hits + misses)) if hits or misses else float("nan")
