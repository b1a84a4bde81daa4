"""The texts that pages need: the sequences are read once for the contexts of all features, and each
piece of a page gets its own, windows of the same trace merged and each distinct token once.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rewardscope.features.contexts import Example
from rewardscope.features.firing import DataSet
from rewardscope.storage.sequences import ActSequence

Key = tuple[int, int]  # data set and sequence


class Segment(NamedTuple):
    """The tokens [start, end) of a trace, as positions in `Windows.texts`."""

    start: int
    end: int
    code_T: np.ndarray


class TraceWindows(NamedTuple):
    """What the contexts need of a trace: its segments, its step ends as [position, step from 1,
    score or None], and how many tokens it has.
    """

    trace: dict[str, Any]
    segments: list[Segment]
    marks: list[list[Any]]
    n_tokens: int


class Windows:
    """The tokens of all contexts, as numbers: it grows with the contexts, not with the rows."""

    def __init__(self, data_sets: Sequence[DataSet], examples: Iterable[Example]) -> None:
        wanted: dict[Key, list[tuple[int, int]]] = {}
        for one in examples:
            wanted.setdefault((one.data_set, one.sequence), []).append((one.start, one.end))
        self.codes: dict[str, int] = {}
        self.traces: dict[Key, TraceWindows] = {}
        for number, data in enumerate(data_sets):
            lines = [line for of_data_set, line in wanted if of_data_set == number]
            for line, sequence in data.store.sequences.chosen(lines):
                self.traces[number, line] = self._read(number, sequence, wanted[number, line])
        self.texts = list(self.codes)

    def _read(
        self, data_set: int, sequence: ActSequence, windows: list[tuple[int, int]]
    ) -> TraceWindows:
        trace = {
            "data_set": data_set,
            "problem": sequence.problem,
            "trace": sequence.trace,
            "correct": sequence.correct,
        }
        segments = [
            Segment(start, end, self._codes(sequence.tokens[start:end]))
            for start, end in merged(windows)
        ]
        return TraceWindows(trace, segments, marks_of(sequence), len(sequence.tokens))

    def _codes(self, tokens: Sequence[str]) -> np.ndarray:
        codes = [self.codes.setdefault(text, len(self.codes)) for text in tokens]
        return np.array(codes, dtype=np.int32)


class TextStore:
    """The texts of the contexts of some features; traces and tokens are numbered in the order in
    which features need them.
    """

    def __init__(self, windows: Windows, examples: Iterable[Example]) -> None:
        wanted: dict[Key, list[tuple[int, int]]] = {}
        for one in examples:
            wanted.setdefault((one.data_set, one.sequence), []).append((one.start, one.end))
        self._texts, self._tokens = windows.texts, dict[int, int]()
        # start, end, number
        self._segment_at: dict[Key, list[tuple[int, int, int]]] = {}
        self._segments: list[list[Any]] = []
        self._traces: list[dict[str, Any]] = []
        for key, spans in wanted.items():
            self._traces.append(windows.traces[key].trace)
            for start, end in merged(spans):
                self._add(key, windows.traces[key], start, end)

    def _add(self, key: Key, source: TraceWindows, start: int, end: int) -> None:
        inside = next(s for s in source.segments if s.start <= start and end <= s.end)
        code_T = inside.code_T[start - inside.start : end - inside.start]
        codes = [self._tokens.setdefault(code, len(self._tokens)) for code in code_T.tolist()]
        marks = [[at - start, *rest] for at, *rest in source.marks if start <= at < end]
        self._segment_at.setdefault(key, []).append((start, end, len(self._segments)))
        more = end < source.n_tokens
        self._segments.append([len(self._traces) - 1, start, codes, marks, more])

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
        tokens = [self._texts[code] for code in self._tokens]
        return {"tokens": tokens, "traces": self._traces, "segments": self._segments}


def merged(windows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join windows that overlap or touch."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def marks_of(sequence: ActSequence) -> list[list[Any]]:
    """Return [position, step from 1, score or None] of the step ends."""
    scores = sequence.scores or [None] * len(sequence.step_ends)
    return [
        [position, step, None if score is None else short(score)]
        for step, (position, score) in enumerate(
            zip(sequence.step_ends, scores, strict=True), start=1
        )
    ]


def short(value: Any) -> float:
    """Round to four digits."""
    return float(f"{float(value):.4g}")
