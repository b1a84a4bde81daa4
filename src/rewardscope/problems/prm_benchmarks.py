"""ProcessBench and PRMBench: their items, and their metrics as published, from the step scores of
any PRM.

Sources: ProcessBench, arXiv 2412.06559; PRMBench, arXiv 2501.03124, and the evaluation code that
its authors publish.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.records import Estimate
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import UNIT, interval, wilson
from rewardscope.statistics.measures import of_sums
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


def report(
    scored: Sequence[tuple[Item, Sequence[float]]], *, threshold: float, seed: int
) -> dict[str, Any]:
    """Return the metrics of both benchmarks, each with n and a 95 % interval over problems (an
    Estimate).
    """
    found: dict[str, Any] = {}
    for benchmark, of_benchmark in (("processbench", _processbench), ("prmbench", _prmbench)):
        mine = [(item, scores) for item, scores in scored if item.benchmark == benchmark]
        if mine:
            found[benchmark] = of_benchmark(mine, threshold, seed)
    return found


def _processbench(
    scored: Sequence[tuple[Item, Sequence[float]]], threshold: float, seed: int
) -> dict[str, Any]:
    names, counts_GCK = _counts(
        scored, [processbench_counts(item, scores, threshold) for item, scores in scored]
    )
    subsets = {}
    for index, name in enumerate(names):
        counts_GK = _of_category(counts_GCK, index)
        n_errors, found, n_correct, kept = counts_GK.sum(axis=0).astype(int).tolist()
        subsets[name] = {
            "f1": _estimate(counts_GK, processbench_f1, seed),
            "error_accuracy": wilson(found, n_errors) if n_errors else None,
            "correct_accuracy": wilson(kept, n_correct) if n_correct else None,
        }
    average = _estimate(
        counts_GCK,
        lambda totals_CK: float(np.mean([processbench_f1(row) for row in totals_CK])),
        seed,
    )
    return {"subsets": subsets, "average_f1": average}


def _prmbench(
    scored: Sequence[tuple[Item, Sequence[float]]], threshold: float, seed: int
) -> dict[str, Any]:
    names, counts_GCK = _counts(
        scored, [prmbench_counts(item, scores, threshold) for item, scores in scored]
    )

    def of_dimension(totals_CK: np.ndarray, categories: Sequence[str]) -> float:
        return float(
            np.mean([prm_score(totals_CK[names.index(name)], category=name) for name in categories])
        )

    return {
        "prm_score": _estimate(
            counts_GCK, lambda totals_CK: prm_score(totals_CK.sum(axis=0), category=None), seed
        ),
        "categories": {
            name: _estimate(
                _of_category(counts_GCK, index),
                lambda totals_K, name=name: prm_score(totals_K, category=name),
                seed,
            )
            for index, name in enumerate(names)
        },
        "dimensions": {
            dimension: _estimate(
                counts_GCK,
                lambda totals_CK, categories=categories: of_dimension(totals_CK, categories),
                seed,
            )
            for dimension, categories in DIMENSIONS.items()
            if set(categories) <= set(names)
        },
    }


def _counts(
    scored: Sequence[tuple[Item, Sequence[float]]], counts: Sequence[np.ndarray]
) -> tuple[list[str], np.ndarray]:
    """Return the categories, and the counts [problems, categories, 4]: the solutions of one
    question belong together.
    """
    names = list(dict.fromkeys(item.category for item, _ in scored))
    questions = {
        question: index
        for index, question in enumerate(dict.fromkeys(item.question for item, _ in scored))
    }
    counts_GCK = np.zeros((len(questions), len(names), 4))
    for (item, _), mine in zip(scored, counts, strict=True):
        counts_GCK[questions[item.question], names.index(item.category)] += mine
    return names, counts_GCK


def _of_category(counts_GCK: np.ndarray, index: int) -> np.ndarray:
    counts_GK = counts_GCK[:, index]
    return counts_GK[counts_GK.sum(axis=1) > 0]


def _estimate(
    counts: np.ndarray, function: Callable[[np.ndarray], float], seed: int
) -> Estimate | None:
    """Return a function of total counts, from counts [G, ...] by question, with its interval; None
    where it is undefined, as without any wrong step.
    """
    draws = draw(np.arange(len(counts)), seed=seed)
    sums_UK = draws.sums(*counts.reshape(len(counts), -1).T)

    def of_totals(totals: np.ndarray) -> np.ndarray:
        return np.array([function(total.reshape(counts.shape[1:])) for total in totals])

    measured = of_sums(of_totals, sums_UK, draws)
    return interval(measured, draws, scale=UNIT) if np.isfinite(measured.value) else None
