"""The rows of captured states as columns: where each state comes from, without an object a row.

A column is read when it is first asked for, so nobody holds what nobody needs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from rewardscope.errors import BadRecord

# Shape legend: N rows.
UNKNOWN, WRONG, RIGHT = -1, 0, 1
TYPES: dict[str, type[np.generic]] = {
    "problem": np.int32,
    "dataset": np.int32,
    "trace": np.int32,
    "step": np.int32,
    "token": np.int32,
    "token_id": np.int32,
    "is_step_end": np.bool_,
    "reward": np.float64,
    "has_reward": np.bool_,
    "correct": np.int8,
    "in_window": np.bool_,
    "text_start": np.int32,
    "sequence": np.int32,
}
ReadColumn = Callable[[str], NDArray[Any]]


@final
class RowTable:
    """Rows [N] in the order of their states.

    `problems` and `datasets` are the texts that `problem_N` and `dataset_N` count in, in order of
    appearance where the rows are those of a whole folder.
    """

    def __init__(
        self, n_rows: int, read: ReadColumn, *, problems: Sequence[str], datasets: Sequence[str]
    ) -> None:
        self.problems, self.datasets = problems, datasets
        self._n_rows, self._read = n_rows, read
        self._columns: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return self._n_rows

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of TYPES, which is kept from then on."""
        if name not in self._columns:
            values_N = self._read(name)
            assert len(values_N) == self._n_rows, (name, len(values_N), self._n_rows)
            self._columns[name] = values_N
        return self._columns[name]

    @property
    def problem_N(self) -> NDArray[np.int32]:
        """Position in `problems`."""
        return self.column("problem")

    @property
    def dataset_N(self) -> NDArray[np.int32]:
        """Position in `datasets`."""
        return self.column("dataset")

    @property
    def trace_N(self) -> NDArray[np.int32]:
        """Number of the trace within its problem."""
        return self.column("trace")

    @property
    def step_N(self) -> NDArray[np.int32]:
        """The step that the position belongs to; -1 before the first."""
        return self.column("step")

    @property
    def token_N(self) -> NDArray[np.int32]:
        """Position in the model's input."""
        return self.column("token")

    @property
    def token_id_N(self) -> NDArray[np.int32]:
        return self.column("token_id")

    @property
    def step_end_N(self) -> NDArray[np.bool_]:
        """Whether the model scores a step here."""
        return self.column("is_step_end")

    @property
    def reward_N(self) -> NDArray[np.float64]:
        """The score; 0 where has_reward_N is False."""
        return self.column("reward")

    @property
    def has_reward_N(self) -> NDArray[np.bool_]:
        return self.column("has_reward")

    @property
    def correct_N(self) -> NDArray[np.int8]:
        """RIGHT, WRONG or UNKNOWN: the grader's verdict on the whole trace."""
        return self.column("correct")

    @property
    def in_window_N(self) -> NDArray[np.bool_]:
        """Whether the position is one of those that the model was trained on."""
        return self.column("in_window")

    @property
    def text_start_N(self) -> NDArray[np.int32]:
        """Where the token's text begins, in characters, in the joined texts of its sequence."""
        return self.column("text_start")

    @property
    def sequence_N(self) -> NDArray[np.int32]:
        """Number of the sequence that the row is of; -1 where an old folder has none."""
        return self.column("sequence")

    def part(self, start: int, stop: int) -> "RowTable":
        """Return rows `start` to `stop`; a column that it needs is read for the whole table."""
        assert 0 <= start <= stop <= len(self), (start, stop, len(self))
        return RowTable(
            stop - start,
            lambda name: self.column(name)[start:stop],
            problems=self.problems,
            datasets=self.datasets,
        )


def make_rows(
    columns: Mapping[str, Any], *, problems: Sequence[str], datasets: Sequence[str]
) -> RowTable:
    """Make a table of columns in memory, one for each name of TYPES."""
    arrays = {name: np.asarray(columns[name], dtype=kind) for name, kind in TYPES.items()}
    n_rows = len(arrays["token"])
    assert all(len(values_N) == n_rows for values_N in arrays.values()), {
        name: len(values_N) for name, values_N in arrays.items()
    }
    return RowTable(n_rows, arrays.__getitem__, problems=problems, datasets=datasets)


def join_rows(parts: Sequence[RowTable]) -> RowTable:
    """Put tables one after the other; their problems and data sets are put together."""
    if len(parts) == 1:
        return parts[0]
    problems, problem_codes = _unify([part.problems for part in parts])
    datasets, dataset_codes = _unify([part.datasets for part in parts])

    def read(name: str) -> NDArray[Any]:
        codes = {"problem": problem_codes, "dataset": dataset_codes}.get(name)
        columns = [part.column(name) for part in parts]
        if codes is not None:
            columns = [
                values_N if new is None else new[values_N]
                for new, values_N in zip(codes, columns, strict=True)
            ]
        return np.concatenate(columns) if columns else np.zeros(0, dtype=TYPES[name])

    return RowTable(sum(map(len, parts)), read, problems=problems, datasets=datasets)


def _unify(tables: Sequence[Sequence[str]]) -> tuple[Sequence[str], list[NDArray[np.int32] | None]]:
    """Return the texts of all tables once, and for each table the new codes of its texts; None
    where the codes stay as they are.
    """
    if tables and all(table is tables[0] for table in tables):
        return tables[0], [None] * len(tables)
    found: dict[str, int] = {}
    codes: list[NDArray[np.int32] | None] = [
        np.array([found.setdefault(text, len(found)) for text in table], dtype=np.int32)
        for table in tables
    ]
    return tuple(found), codes


@final
class RowReader:
    """Takes rows from consecutive tables, any number at a time."""

    def __init__(self, tables: Iterable[RowTable], *, where: str) -> None:
        self._tables: Iterator[RowTable] = iter(tables)
        self._current: RowTable | None = None
        self._start, self._where = 0, where

    def take(self, n_rows: int) -> RowTable:
        """Return the next `n_rows` rows. Raises: BadRecord where fewer are left."""
        parts: list[RowTable] = []
        missing = n_rows
        while missing or not parts:
            current = self._table()
            stop = min(len(current), self._start + missing)
            parts.append(current.part(self._start, stop))
            missing -= stop - self._start
            self._start = stop
        return join_rows(parts)

    def _table(self) -> RowTable:
        """Return the table that has rows left."""
        while self._current is None or self._start == len(self._current):
            self._current, self._start = next(self._tables, None), 0
            if self._current is None:
                raise BadRecord(
                    f"{self._where}: the shards hold more rows than are described; re-run invoke"
                    " save-acts"
                )
        return self._current
