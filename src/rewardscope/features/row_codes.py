"""What rows of two data sets are matched on, as numbers in a file: it is read once for each chunk
of features, and nothing of the size of the rows stays in memory.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from rewardscope.features.categories import CATEGORIES
from rewardscope.features.firing import DataSet, RowTexts
from rewardscope.features.reason_score import word_windows
from rewardscope.storage.rows import RIGHT, UNKNOWN, RowTable

# Shape legend: N rows, T traces, P problems of both sides together.
PLACES, LENGTHS = 5, 16  # bins of the place in a trace, and of the logarithm of its steps
_STEP_TAG = CATEGORIES.index("step_tag")
_ROWS_AT_ONCE = 65_536


class RowCodes(NamedTuple):
    """Some rows of one side, each column int32 [N]."""

    trace: np.ndarray
    """Position among the traces of both sides."""
    word: np.ndarray
    """Which word's window the token is in, from 1; 0 is none."""
    token: np.ndarray
    """Position among the tokens of both sides: a text, apart where it is a step tag."""
    category: np.ndarray
    position: np.ndarray
    """Bin of the place in the trace and of the number of steps."""
    solved: np.ndarray
    """0 for a right trace of a problem that both sides solved, else -1."""


class _Traces(NamedTuple):
    """The traces of one side, found in one pass over its rows; each column [T]."""

    problem: np.ndarray
    first: np.ndarray
    last: np.ndarray
    steps: np.ndarray
    rows: np.ndarray
    grade: np.ndarray


@final
class RowCodeReader:
    """Gives the codes of consecutive rows."""

    def __init__(self, path: int, start: int) -> None:
        self._file, self._at = path, start

    def take(self, n_rows: int) -> RowCodes:
        """Return the codes of the next rows."""
        size = 4 * len(RowCodes._fields) * n_rows
        data = np.frombuffer(_pread(self._file, size, self._at), dtype=np.int32)
        self._at += size
        return RowCodes(*data.reshape(n_rows, len(RowCodes._fields)).T)


@final
class PairRows:
    """The rows of two data sets. Use as a context: the codes lie in a file without a name below
    `folder`.
    """

    def __init__(
        self, first: DataSet, second: DataSet, *, words: Sequence[str], folder: Path
    ) -> None:
        self.sides = (first, second)
        outlines = [_traces(data) for data in self.sides]
        names = [data.store.problems for data in self.sides]
        self.problems = tuple(dict.fromkeys((*names[0], *names[1])))
        joint = {name: code for code, name in enumerate(self.problems)}
        codes = [np.array([joint[name] for name in own], dtype=np.int64) for own in names]
        problems = [new[o.problem] for new, o in zip(codes, outlines, strict=True)]
        self.problem_T = np.concatenate(problems)
        self.side_T = np.repeat([0, 1], [len(o.rows) for o in outlines])
        self.rows_T = np.concatenate([o.rows for o in outlines])
        solved = [set(p[o.grade == RIGHT]) for p, o in zip(problems, outlines, strict=True)]
        self.knows_grades = all(bool((o.grade != UNKNOWN).any()) for o in outlines)
        both = np.array(sorted(solved[0] & solved[1]), dtype=np.int64)
        self.tokens: dict[tuple[str, bool], int] = {}
        self._words = tuple(words) if all(data.every_token for data in self.sides) else ()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by __exit__
        self._starts: list[int] = []
        try:
            for number, (data, traces) in enumerate(zip(self.sides, outlines, strict=True)):
                self._starts.append(self._file.tell())
                is_solved_T = (traces.grade == RIGHT) & np.isin(problems[number], both)
                self._write(data, traces, is_solved_T, base=number * len(outlines[0].rows))
            self._file.flush()
        except BaseException:
            self._file.close()
            raise

    @property
    def n_rows(self) -> tuple[int, int]:
        first, second = (int(self.rows_T[self.side_T == side].sum()) for side in (0, 1))
        return first, second

    def reader(self, side: int) -> RowCodeReader:
        """Return a reader of one side's rows, from the first."""
        return RowCodeReader(self._file.fileno(), self._starts[side])

    def pieces(self, side: int) -> "list[int]":
        """Return numbers of rows that `reader` can take one after the other."""
        n_rows = self.n_rows[side]
        return [min(_ROWS_AT_ONCE, n_rows - at) for at in range(0, n_rows, _ROWS_AT_ONCE)]

    def _write(self, data: DataSet, traces: _Traces, solved_T: np.ndarray, *, base: int) -> None:
        texts, token_codes = RowTexts(data), np.zeros((2, 0), dtype=np.int32)
        for rows in data.store.row_groups():
            text_N, category_N = texts.read(rows)
            token_codes = self._joint(texts.texts, token_codes)
            is_tag_N = (category_N == _STEP_TAG).astype(np.int64)
            trace_N = rows.sequence_N
            columns = RowCodes(
                trace=trace_N + base,
                word=self._word(data, rows),
                token=token_codes[is_tag_N, text_N],
                category=category_N,
                position=_position(rows, traces),
                solved=np.where(solved_T[trace_N], 0, -1),
            )
            self._file.write(np.stack(columns, axis=1).astype(np.int32).tobytes())

    def _joint(self, texts: Sequence[str], known: np.ndarray) -> np.ndarray:
        """Return the token of each text, as it is and as a step tag, for new texts too."""
        new = [
            [
                self.tokens.setdefault((text, tag), len(self.tokens))
                for text in texts[known.shape[1] :]
            ]
            for tag in (False, True)
        ]
        return np.concatenate([known, np.array(new, dtype=np.int32).reshape(2, -1)], axis=1)

    def _word(self, data: DataSet, rows: RowTable) -> np.ndarray:
        if not self._words:
            return np.zeros(len(rows), dtype=np.int32)
        used, place_N = np.unique(rows.sequence_N, return_inverse=True)
        windows = [
            word_windows(sequence.tokens, self._words)
            for _, sequence in data.store.sequences.chosen(used.tolist())
        ]
        starts = np.concatenate([[0], np.cumsum([len(window) for window in windows])])
        return np.concatenate(windows)[starts[place_N] + rows.token_N]

    def __enter__(self) -> "PairRows":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _traces(data: DataSet) -> _Traces:
    """Look at the rows of a data set once."""
    n = len(data.store.sequences)
    found = _Traces(
        problem=np.zeros(n, dtype=np.int64),
        first=np.full(n, np.iinfo(np.int32).max),
        last=np.zeros(n, dtype=np.int64),
        steps=np.ones(n, dtype=np.int64),
        rows=np.zeros(n, dtype=np.int64),
        grade=np.full(n, UNKNOWN, dtype=np.int64),
    )
    for rows in data.store.row_groups():
        trace_N = rows.sequence_N
        found.problem[trace_N] = rows.problem_N
        found.grade[trace_N] = rows.correct_N
        np.minimum.at(found.first, trace_N, rows.token_N)
        np.maximum.at(found.last, trace_N, rows.token_N)
        np.maximum.at(found.steps, trace_N, rows.step_N + 1)
        found.rows[:] += np.bincount(trace_N, minlength=n)
    return found


def _position(rows: RowTable, traces: _Traces) -> np.ndarray:
    trace_N = rows.sequence_N
    first_N = traces.first[trace_N]
    share_N = (rows.token_N - first_N) / np.maximum(traces.last[trace_N] - first_N, 1)
    place_N = np.minimum((share_N * PLACES).astype(np.int64), PLACES - 1)
    length_N = np.minimum(np.log2(traces.steps[trace_N]).astype(np.int64), LENGTHS - 1)
    return place_N * LENGTHS + length_N


def _pread(file: int, size: int, start: int) -> bytes:
    import os

    parts = []
    while size:
        part = os.pread(file, size, start)
        assert part, (size, start)
        parts.append(part)
        size, start = size - len(part), start + len(part)
    return b"".join(parts)
