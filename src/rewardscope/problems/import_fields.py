"""Fields of rows that others made: texts, lists, one value a solution; step scores and labels."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rewardscope.errors import BadRecord
from rewardscope.problems.datasets import gold_of
from rewardscope.problems.steps import first_wrong_labels

Labels = tuple[bool | None, ...]
Scores = dict[str, tuple[float, ...]]
UNNAMED = "scores"  # what the scores of a row that names no PRM are called
ITEM_FIELDS = ("id", "item", "unique_id", "idx")
GENERATOR_FIELDS = ("generator", "model", "policy")
STYLE_FIELDS = ("style",)
SUBSET_FIELDS = ("subset", "split")
_LARGEST = sys.float_info.max
_LABELS: Mapping[Any, bool | None] = {1: True, 0: False, None: None}  # and True, False


def text_of(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Return the first text that is there, stripped. Raises: BadRecord where there is none."""
    text = text_or_nothing(row, fields)
    if not text:
        raise BadRecord(f"no text under {' or '.join(fields)}")
    return text


def text_or_nothing(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Return the first text or number that is there as text, empty where there is none."""
    given = (row[field] for field in fields if isinstance(row.get(field), str | int | float))
    return next((gold_of(value).strip() for value in given), "")


def list_of(row: Mapping[str, Any], field: str, kind: type) -> list[Any]:
    """Return a list of one type. Raises: BadRecord."""
    values = row.get(field)
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise BadRecord(f"no list of {kind.__name__} under {field}")
    return values


def parallel(row: Mapping[str, Any], field: str, n: int) -> list[Any]:
    """Return one value for each of n solutions: of a list, the value alone for one solution, or
    None where the field is missing. Raises: BadRecord.
    """
    value = row.get(field)
    values = value if isinstance(value, list) else [value] * n if value is None or n == 1 else []
    if len(values) != n:
        raise BadRecord(f"{len(values)} values under {field} for {n} solutions")
    return values


def reward_of(value: Any) -> float | None:
    """Return a reward. Raises: BadRecord where it is no number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRecord(f"the reward {value!r} is no number")
    if not -_LARGEST <= value <= _LARGEST:  # NaN, too, is not between them
        raise BadRecord("the reward is NaN, infinite or too large for a number")
    return float(value)


def verdict_of(value: Any) -> bool | None:
    """Return whether an answer is right. Raises: BadRecord where it is neither true nor false."""
    if value is not None and not isinstance(value, bool):
        raise BadRecord(f"the verdict {value!r} is neither true nor false")
    return value


def step_scores(row: Mapping[str, Any], lengths: Sequence[int]) -> list[Scores]:
    """Return the step scores by PRM of each of a row's solutions, which have `lengths` steps.

    `scores` maps names to a list of numbers, or to one such list for each solution; without names
    it is that of one PRM. Raises: BadRecord.
    """
    given = row.get("scores")
    if given is None:
        return [{} for _ in lengths]
    named = given if isinstance(given, dict) else {UNNAMED: given}
    if not all(name.strip() for name in named):
        raise BadRecord("scores: a name is empty")
    found: list[Scores] = [{} for _ in lengths]
    for name, value in named.items():
        lists = _each(value, f"scores of {name}", lengths)
        for scores, its_scores in zip(found, lists, strict=True):
            scores[name] = _numbers(its_scores, f"scores of {name}")
    return found


def step_labels(row: Mapping[str, Any], lengths: Sequence[int]) -> list[Labels | None]:
    """Return what a row says of each solution's steps: all `labels` (true, false, null), or the
    position of the `first_error` from 0, -1 without one. Raises: BadRecord.
    """
    labels, first = row.get("labels"), row.get("first_error")
    if labels is not None and first is not None:
        raise BadRecord("both labels and first_error; leave one out")
    if labels is not None:
        return [tuple(map(_label, given)) for given in _each(labels, "labels", lengths)]
    firsts = parallel(row, "first_error", len(lengths))
    return [
        None if first is None else first_wrong_labels(n, first_error(first, n))
        for first, n in zip(firsts, lengths, strict=True)
    ]


def first_error(value: Any, n_steps: int) -> int:
    """Return a position of a first wrong step. Raises: BadRecord where there is no such step."""
    if type(value) is not int or not -1 <= value < n_steps:
        raise BadRecord(
            f"first_error {value!r}: the position of one of {n_steps} steps, counted from 0, or -1"
            " is needed"
        )
    return value


def _each(value: Any, what: str, lengths: Sequence[int]) -> list[list[Any]]:
    """Return a list for each solution, with an entry a step. Raises: BadRecord."""
    nested = isinstance(value, list) and any(isinstance(each, list) for each in value)
    lists = value if nested else [value]
    if not all(isinstance(each, list) for each in lists):
        raise BadRecord(f"{what}: a list with an entry for each step is needed")
    if len(lists) != len(lengths):
        raise BadRecord(f"{what}: {len(lists)} lists for {len(lengths)} solutions")
    for each, n in zip(lists, lengths, strict=True):
        if len(each) != n:
            raise BadRecord(f"{what}: {len(each)} for {n} steps")
    return lists


def _numbers(values: Sequence[Any], what: str) -> tuple[float, ...]:
    for place, value in enumerate(values, start=1):
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or not -_LARGEST <= value <= _LARGEST:  # NaN, too, is not between them
            raise BadRecord(f"{what}: step {place} has {value!r}, no finite number")
    return tuple(map(float, values))


def _label(value: Any) -> bool | None:
    if isinstance(value, float | str | list | dict) or value not in _LABELS:
        raise BadRecord(
            f"the label {value!r} is none of true (1), false (0) and null; of PRM800K's, -1 is"
            " false and 0 and 1 are true"
        )
    return _LABELS[value]
