"""The texts that a page needs: windows of the same trace are merged, and each distinct token text
is kept once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from rewardscope.features.contexts import Example
from rewardscope.features.firing import DataSet
from rewardscope.storage.sequences import ActSequence


class _Segment(NamedTuple):
    """The tokens [start, end) of a trace."""

    start: int
    end: int
    tokens: tuple[str, ...]
    marks: list[list[Any]]
    more: bool
    """Whether the trace goes on after it."""


class TextStore:
    """The texts of the contexts of all features; traces and tokens are numbered in the order in
    which features need them.
    """

    def __init__(self, data_sets: Sequence[DataSet], examples: Sequence[Sequence[Example]]) -> None:
        wanted: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for example in (example for of_feature in examples for example in of_feature):
            wanted.setdefault((example.data_set, example.sequence), []).append(
                (example.start, example.end)
            )
        found: dict[tuple[int, int], tuple[dict[str, Any], list[_Segment]]] = {}
        for number, data in enumerate(data_sets):
            lines = [line for of_data_set, line in wanted if of_data_set == number]
            for line, sequence in data.store.sequences.chosen(lines):
                trace = {
                    "data_set": number,
                    "problem": sequence.problem,
                    "trace": sequence.trace,
                    "correct": sequence.correct,
                }
                found[number, line] = (trace, _segments(sequence, wanted[number, line]))
        # start, end, number
        self._segment_at: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        self._segments: list[list[Any]] = []
        self._traces: list[dict[str, Any]] = []
        self._tokens: dict[str, int] = {}
        for key in wanted:
            self._add(key, *found[key])

    def _add(self, key: tuple[int, int], trace: dict[str, Any], segments: list[_Segment]) -> None:
        self._traces.append(trace)
        for segment in segments:
            self._segment_at.setdefault(key, []).append(
                (segment.start, segment.end, len(self._segments))
            )
            codes = [self._tokens.setdefault(text, len(self._tokens)) for text in segment.tokens]
            self._segments.append(
                [len(self._traces) - 1, segment.start, codes, segment.marks, segment.more]
            )

    def place(self, example: Example) -> list[Any]:
        """Return segment, position of the maximum, start, end, and [position, activation] pairs,
        all positions within the segment.
        """
        placed = self._segment_at[example.data_set, example.sequence]
        first, number = next(
            (start, number) for start, end, number in placed if start <= example.position < end
        )
        values = [
            [position - first, short(value)] for position, value in example.activations.items()
        ]
        return [
            number,
            example.position - first,
            example.start - first,
            example.end - first,
            values,
        ]

    def tables(self) -> dict[str, Any]:
        return {"tokens": list(self._tokens), "traces": self._traces, "segments": self._segments}


def _segments(sequence: ActSequence, windows: list[tuple[int, int]]) -> list[_Segment]:
    return [
        _Segment(
            start,
            end,
            sequence.tokens[start:end],
            _marks(sequence, start, end),
            end < len(sequence.tokens),
        )
        for start, end in _merged(windows)
    ]


def _merged(windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join windows that overlap or touch."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _marks(sequence: ActSequence, start: int, end: int) -> list[list[Any]]:
    """Return [position, step number from 1, score or None] of the step ends in a window."""
    scores = sequence.scores or [None] * len(sequence.step_ends)
    ends = enumerate(zip(sequence.step_ends, scores, strict=True), start=1)
    return [
        [position - start, step, None if score is None else short(score)]
        for step, (position, score) in ends
        if start <= position < end
    ]


def short(value: Any) -> float:
    """Round to four digits."""
    return float(f"{float(value):.4g}")
