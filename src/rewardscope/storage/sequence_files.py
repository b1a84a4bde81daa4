"""`sequences.parquet`: one line a trace, in row groups of some hundred thousand tokens; and the
`sequences.jsonl` of older folders, read in the same way.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, final

import msgspec
import numpy as np
import pyarrow as pa

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.storage.parquet import open_parquet, read_group, text_codes, writer
from rewardscope.storage.sequences import ActSequence, TokenTexts
from rewardscope.storage.typed import decode

SEQUENCES, OLD_SEQUENCES = "sequences.parquet", "sequences.jsonl"
GROUP_TOKENS = 262_144  # of a row group, or one sequence
_OLD_GROUP = 64  # lines that are read together
_TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("problem", _TEXT, nullable=False),
        pa.field("trace", pa.int32(), nullable=False),
        pa.field("tokens", pa.list_(_TEXT), nullable=False),
        pa.field("step_ends", pa.list_(pa.int32()), nullable=False),
        pa.field("scores", pa.list_(pa.float64())),
        pa.field("correct", pa.bool_()),
    ]
)


@final
class ParquetSequences:
    """The sequences of a `sequences.parquet`.

    Raises: MissingInput, BadRecord that names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file = path, open_parquet(path, SCHEMA)
        sizes = [
            self._file.metadata.row_group(group).num_rows
            for group in range(self._file.num_row_groups)
        ]
        self.starts_G = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    def read(
        self, group: int, wanted: Sequence[int] | None = None, *, texts: bool = True
    ) -> list[ActSequence]:
        columns = [name for name in SCHEMA.names if texts or name != "tokens"]
        table = read_group(self._file, self.path, group, columns)
        rows = (table if wanted is None else table.take(wanted)).to_pylist()
        return msgspec.convert(rows, list[ActSequence])

    def token_texts(self, group: int) -> TokenTexts:
        tokens = read_group(self._file, self.path, group, ["tokens"]).column(0).combine_chunks()
        values = tokens.values
        return TokenTexts(
            np.asarray(tokens.offsets).astype(np.int64),
            np.asarray(values.indices),
            values.dictionary.to_pylist(),
        )


class _OldName(msgspec.Struct):
    problem: str
    trace: int


@final
class OldSequences:
    """The sequences of a `sequences.jsonl`: where its lines begin is remembered, they themselves
    are read as they are needed.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MissingInput(f"{path} is not there; re-run invoke save-acts")
        self.path = path
        at, begins = 0, []
        with path.open("rb") as lines:
            for line in lines:
                if line.strip():
                    begins.append(at)
                at += len(line)
        self._begins = np.array(begins, dtype=np.int64)
        starts = np.append(np.arange(0, len(begins), _OLD_GROUP), len(begins))
        self.starts_G = starts.astype(np.int64)

    @cached_property
    def numbers(self) -> dict[tuple[str, int], int]:
        """The number of each trace of each problem."""
        names = self._decode(range(len(self._begins)), msgspec.json.Decoder(_OldName))
        return {(name.problem, name.trace): number for number, name in enumerate(names)}

    def read(
        self, group: int, wanted: Sequence[int] | None = None, *, texts: bool = True
    ) -> list[ActSequence]:
        start, stop = self.starts_G[group : group + 2].tolist()
        numbers = range(start, stop) if wanted is None else [start + place for place in wanted]
        found = list(self._decode(numbers, msgspec.json.Decoder(ActSequence)))
        return found if texts else [msgspec.structs.replace(one, tokens=()) for one in found]

    def token_texts(self, group: int) -> TokenTexts:
        found: dict[str, int] = {}
        tokens = [sequence.tokens for sequence in self.read(group)]
        codes = [found.setdefault(text, len(found)) for texts in tokens for text in texts]
        starts = np.cumsum([0, *map(len, tokens)], dtype=np.int64)
        return TokenTexts(starts, np.array(codes, dtype=np.int32), list(found))

    def _decode(self, numbers: Iterable[int], decoder: Any) -> Iterator[Any]:
        with self.path.open("rb") as lines:
            for number in numbers:
                lines.seek(self._begins[number])
                try:
                    yield decode(lines.readline(), decoder)
                except BadRecord as error:
                    raise BadRecord(f"{self.path}, sequence {number + 1}: {error}") from None


def open_sequence_file(folder: Path) -> ParquetSequences | OldSequences:
    """Open the sequences of a save-acts folder, in the form that is there.

    Raises: MissingInput, BadRecord.
    """
    new, old = folder / SEQUENCES, folder / OLD_SEQUENCES
    return OldSequences(old) if old.is_file() and not new.is_file() else ParquetSequences(new)


@final
class SequenceWriter:
    """Writes sequences one after the other. Use as a context."""

    def __init__(self, path: Path) -> None:
        self._held, self._n_tokens = list[ActSequence](), 0
        self._out = writer(path, SCHEMA)

    def add(self, sequence: ActSequence) -> None:
        """Append a sequence. Raises: BadRecord for a text that no file can hold."""
        self._held.append(sequence)
        self._n_tokens += len(sequence.tokens)
        if self._n_tokens >= GROUP_TOKENS:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._out.write_table(_arrow(self._held))
        self._held, self._n_tokens = [], 0

    def __enter__(self) -> "SequenceWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._out.close()


def _arrow(sequences: list[ActSequence]) -> pa.Table:
    columns = {
        "problem": _coded([sequence.problem for sequence in sequences]),
        "trace": [sequence.trace for sequence in sequences],
        "tokens": pa.ListArray.from_arrays(
            pa.array(np.cumsum([0, *(len(s.tokens) for s in sequences)]), type=pa.int32()),
            _coded([text for sequence in sequences for text in sequence.tokens]),
        ),
        "step_ends": [sequence.step_ends for sequence in sequences],
        "scores": [sequence.scores for sequence in sequences],
        "correct": [sequence.correct for sequence in sequences],
    }
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
        for field, column in ((field, columns[field.name]) for field in SCHEMA)
    ]
    return pa.table(arrays, schema=SCHEMA)


def _coded(texts: Sequence[str]) -> pa.DictionaryArray:
    found: dict[str, int] = {}
    codes = np.array([found.setdefault(text, len(found)) for text in texts], dtype=np.int32)
    return text_codes(codes, list(found))
