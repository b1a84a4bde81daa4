"""`rows.parquet`: one row a captured state, as any Parquet reader shows it; and the `rows.jsonl`
of older folders, read to the same columns.

    pandas.read_parquet("rows.parquet")[["problem", "step", "reward"]]
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.storage.parquet import open_parquet, read_group, text_codes, writer
from rewardscope.storage.rows import TYPES, UNKNOWN, RowTable, join_rows, make_rows
from rewardscope.storage.typed import decode

# Shape legend: N rows.
ROWS, OLD_ROWS = "rows.parquet", "rows.jsonl"
GROUP_ROWS = 65_536  # of a row group, which is what is read at once
_TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("problem", _TEXT, nullable=False),
        pa.field("dataset", _TEXT, nullable=False),
        pa.field("trace", pa.int32(), nullable=False),
        pa.field("step", pa.int32(), nullable=False),
        pa.field("token", pa.int32(), nullable=False),
        pa.field("token_id", pa.int32(), nullable=False),
        pa.field("is_step_end", pa.bool_(), nullable=False),
        pa.field("reward", pa.float64()),
        pa.field("correct", pa.bool_()),
        pa.field("in_window", pa.bool_(), nullable=False),
        pa.field("text_start", pa.int32(), nullable=False),
        pa.field("sequence", pa.int32(), nullable=False),
    ]
)


@final
class RowWriter:
    """Writes tables to one file, one after the other. Use as a context."""

    def __init__(self, path: Path) -> None:
        self._held, self._n_held = list[RowTable](), 0
        self._out = writer(path, SCHEMA)

    def add(self, rows: RowTable) -> None:
        """Append rows. Raises: BadRecord for a text that no file can hold."""
        self._held.append(rows)
        self._n_held += len(rows)
        if self._n_held >= GROUP_ROWS:
            self._write(self._n_held - self._n_held % GROUP_ROWS)

    def _write(self, n_rows: int) -> None:
        """Write the first of the rows that are held."""
        rows = join_rows(self._held)
        for start in range(0, n_rows, GROUP_ROWS):
            self._out.write_table(_arrow(rows.part(start, min(n_rows, start + GROUP_ROWS))))
        self._held, self._n_held = [rows.part(n_rows, len(rows))], len(rows) - n_rows

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._n_held:
                self._write(self._n_held)
        finally:
            self._out.close()


def _arrow(rows: RowTable) -> pa.Table:
    reward_N, has_reward_N, correct_N = rows.reward_N, rows.has_reward_N, rows.correct_N
    assert np.isfinite(reward_N[has_reward_N]).all(), reward_N
    columns: dict[str, pa.Array] = {
        "problem": text_codes(rows.problem_N, rows.problems),
        "dataset": text_codes(rows.dataset_N, rows.datasets),
        "reward": pa.array(reward_N, mask=~has_reward_N),
        "correct": pa.array(correct_N == 1, mask=correct_N == UNKNOWN),
    }
    for field in SCHEMA:
        if field.name not in columns:
            columns[field.name] = pa.array(rows.column(field.name), type=field.type)
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


@final
class ParquetRows:
    """The rows of a `rows.parquet`. Raises: MissingInput, BadRecord that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_parquet(path, SCHEMA)
        self.n_rows: int = self._file.metadata.num_rows

    @cached_property
    def problems(self) -> tuple[str, ...]:
        return self._texts("problem")

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        return self._texts("dataset")

    def table(self) -> RowTable:
        """Return all rows as one table."""
        groups = self._file.num_row_groups

        def read(name: str) -> NDArray[Any]:
            columns = [self._column(group, name) for group in range(groups)]
            return np.concatenate(columns) if columns else np.zeros(0, dtype=TYPES[name])

        return RowTable(self.n_rows, read, problems=self.problems, datasets=self.datasets)

    def groups(self) -> Iterator[RowTable]:
        """Yield the rows of each row group; texts are counted as in `table`."""
        problems, datasets = self.problems, self.datasets
        for group in range(self._file.num_row_groups):
            yield RowTable(
                self._file.metadata.row_group(group).num_rows,
                self._reader(group),
                problems=problems,
                datasets=datasets,
            )

    def _reader(self, group: int) -> Callable[[str], NDArray[Any]]:
        return lambda name: self._column(group, name)

    def _column(self, group: int, name: str) -> NDArray[Any]:
        """Return a column of TYPES."""
        if name == "has_reward":
            return ~np.asarray(self._read(group, "reward").is_null())
        values = self._read(group, name)
        if name in ("problem", "dataset"):
            codes = self._problem_codes if name == "problem" else self._dataset_codes
            new = np.array([codes[text] for text in values.dictionary.to_pylist()], dtype=np.int32)
            return new[np.asarray(values.indices)]
        if name == "correct":
            known = values.cast(pa.int8()).fill_null(UNKNOWN)
            return np.asarray(known)
        if name == "reward":
            return np.asarray(values.fill_null(0.0))
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=TYPES[name])

    def _read(self, group: int, name: str) -> Any:
        return read_group(self._file, self.path, group, [name]).column(name).combine_chunks()

    @cached_property
    def _problem_codes(self) -> dict[str, int]:
        return {text: code for code, text in enumerate(self.problems)}

    @cached_property
    def _dataset_codes(self) -> dict[str, int]:
        return {text: code for code, text in enumerate(self.datasets)}

    def _texts(self, name: str) -> tuple[str, ...]:
        """Return the texts of a column, in order of appearance."""
        found: dict[str, None] = {}
        for group in range(self._file.num_row_groups):
            values = self._read(group, name)
            _, first = np.unique(np.asarray(values.indices), return_index=True)
            texts, indices = values.dictionary.to_pylist(), np.asarray(values.indices)
            found |= dict.fromkeys(texts[indices[at]] for at in np.sort(first))
        return tuple(found)


class _OldRow(msgspec.Struct):
    """A line of `rows.jsonl`."""

    problem: str
    trace: int
    step: int
    token: int
    token_id: int
    is_step_end: bool
    reward: float | None
    correct: bool | None
    dataset: str = ""
    in_window: bool = True
    text_start: int = 0


_PLAIN = ("trace", "step", "token", "token_id", "is_step_end", "in_window", "text_start")


@final
class OldRows:
    """The rows of a `rows.jsonl`, read once to columns of about 45 bytes a row.

    `sequences` gives the number of the sequence of a problem and trace.
    """

    def __init__(self, path: Path, sequences: dict[tuple[str, int], int]) -> None:
        if not path.is_file():
            raise MissingInput(f"{path} is not there; re-run invoke save-acts")
        joined = join_rows(list(_old_pieces(path, sequences)))
        self._table = make_rows(
            {name: joined.column(name) for name in TYPES},
            problems=joined.problems,
            datasets=joined.datasets,
        )
        self.n_rows = len(self._table)

    def table(self) -> RowTable:
        """Return all rows as one table."""
        return self._table

    def groups(self) -> Iterator[RowTable]:
        """Yield the rows in parts."""
        for start in range(0, self.n_rows, GROUP_ROWS):
            yield self.table().part(start, min(self.n_rows, start + GROUP_ROWS))


def _old_pieces(path: Path, sequences: dict[tuple[str, int], int]) -> Iterator[RowTable]:
    decoder, held = msgspec.json.Decoder(_OldRow), list[_OldRow]()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                held.append(decode(line, decoder))
            except BadRecord as error:
                raise BadRecord(f"{path} line {number}: {error}") from None
            if len(held) == GROUP_ROWS:
                yield _piece(held, sequences)
                held = []
    if held:
        yield _piece(held, sequences)


def _piece(rows: list[_OldRow], sequences: dict[tuple[str, int], int]) -> RowTable:
    problems = {name: code for code, name in enumerate(dict.fromkeys(r.problem for r in rows))}
    datasets = {name: code for code, name in enumerate(dict.fromkeys(r.dataset for r in rows))}
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _PLAIN}
    columns["problem"] = [problems[row.problem] for row in rows]
    columns["dataset"] = [datasets[row.dataset] for row in rows]
    columns["reward"] = [row.reward or 0.0 for row in rows]
    columns["has_reward"] = [row.reward is not None for row in rows]
    columns["correct"] = [UNKNOWN if row.correct is None else int(row.correct) for row in rows]
    columns["sequence"] = [sequences.get((row.problem, row.trace), -1) for row in rows]
    return make_rows(columns, problems=tuple(problems), datasets=tuple(datasets))
