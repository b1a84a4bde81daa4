"""A finished `save-acts` folder: its states layer by layer, where they come from, and the tokens of
the model's inputs.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from rewardscope.errors import BadRecord, MissingInput, UnknownName
from rewardscope.storage.acts_info import ActsInfo, read_acts_manifest
from rewardscope.storage.files import replacing, sha256
from rewardscope.storage.journal import HIDDENS
from rewardscope.storage.manifests import check_file
from rewardscope.storage.row_files import OLD_ROWS, ROWS, OldRows, ParquetRows, RowWriter
from rewardscope.storage.rows import RowReader, RowTable
from rewardscope.storage.sequence_files import (
    OLD_SEQUENCES,
    SEQUENCES,
    OldSequences,
    ParquetSequences,
    SequenceWriter,
    open_sequence_file,
)
from rewardscope.storage.sequences import ActSequence, Sequences
from rewardscope.storage.shards import check_shard, read_layer

# Shape legend: N rows, D width.

_HASHED = 100 * 2**20  # bytes: larger files of rows are checked by their size


@final
class ActStore:
    """A finished folder; counts come from its manifest, never from a listing.

    Raises: MissingInput, BadRecord where a shard is not what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_acts_manifest(folder)
        self.info: ActsInfo = self.manifest.extra
        self.layers, self.width = self.info.layers, self.info.width
        self.n_rows = self.manifest.rows
        self.shards = [
            folder / name for name in self.manifest.outputs if name.startswith(f"{HIDDENS}/")
        ]
        for name, (n_bytes, members) in self.info.shards.items():
            check_shard(folder / name, n_bytes=n_bytes, members=members)

    @cached_property
    def rows(self) -> RowTable:
        """Where each state comes from, in shard order; a column is read as it is asked for.

        Raises: MissingInput; BadRecord where their number is not the manifest's.
        """
        return self._row_file.table()

    @property
    def problems(self) -> Sequence[str]:
        """The problems of the rows, in order of appearance."""
        return self.rows.problems

    def row_groups(self) -> Iterator[RowTable]:
        """Yield the rows in parts of some ten thousand, so that none keeps the columns of all."""
        return self._row_file.groups()

    @cached_property
    def _row_file(self) -> ParquetRows | OldRows:
        path = self._row_path()
        if path.is_file():
            check_file(path, at_most=_HASHED)
        file = OldRows(path, self._old_numbers()) if path.name == OLD_ROWS else ParquetRows(path)
        if file.n_rows != self.n_rows:
            raise BadRecord(
                f"{path} has {file.n_rows} rows, its manifest says {self.n_rows}; delete it and"
                " re-run invoke save-acts"
            )
        return file

    @cached_property
    def sequences(self) -> Sequences:
        """The model's inputs, read as they are needed. Raises: MissingInput, BadRecord."""
        return Sequences(self._sequence_file)

    def step_ends(self) -> Iterator[tuple[int, ...]]:
        """Yield where the steps of each input end; nothing for a folder without inputs."""
        try:
            sequences = self.sequences
        except MissingInput:
            return
        yield from (sequence.step_ends for sequence in sequences.without_texts())

    @cached_property
    def _sequence_file(self) -> ParquetSequences | OldSequences:
        path = self.folder / SEQUENCES
        if path.is_file():
            check_file(path, at_most=_HASHED)
        return open_sequence_file(self.folder)

    def _old_numbers(self) -> dict[tuple[str, int], int]:
        """Return the number of each sequence, for rows that do not name theirs."""
        try:
            file = self._sequence_file
        except MissingInput:
            return {}
        return file.numbers if isinstance(file, OldSequences) else {}

    def _row_path(self) -> Path:
        """Return the file of rows, in the form that is there."""
        new, old = self.folder / ROWS, self.folder / OLD_ROWS
        return old if old.is_file() and not new.is_file() else new

    def check_layers(self, layers: Sequence[int]) -> None:
        """Raises: UnknownName for a layer that was not captured."""
        for layer in layers:
            if layer not in self.layers:
                raise UnknownName(
                    f"layer of {self.folder}", str(layer), [str(known) for known in self.layers]
                )

    def stream_layer(self, layer: int) -> Iterator[Tensor]:
        """Yield float32 [N, D] of one layer, shard by shard."""
        self.check_layers([layer])
        for shard in self.shards:
            yield read_layer(shard, layer)

    def stream(self, layer: int) -> Iterator[tuple[Tensor, RowTable]]:
        """Yield float32 [N, D] of one layer with where its rows come from, shard by shard.

        Raises: BadRecord where the shards do not hold as many rows as the manifest says.
        """
        rows, count = RowReader(self.row_groups(), where=str(self.folder)), 0
        for acts_ND in self.stream_layer(layer):
            yield acts_ND, rows.take(len(acts_ND))
            count += len(acts_ND)
        if count != self.n_rows:
            raise BadRecord(
                f"{self.folder}: its shards hold {count} rows, its manifest says {self.n_rows};"
                " re-run invoke save-acts"
            )

    def layer(self, layer: int) -> Tensor:
        """Read all rows of one layer, float32 [N, D]."""
        return torch.cat(list(self.stream_layer(layer)))

    def verify(self) -> None:
        """Compare every shard with its checksum.

        Raises: MissingInput, BadRecord that names the shard.
        """
        for shard in self.shards:
            self._verify(shard)

    def verify_rows(self) -> None:
        """Compare the file of rows with its checksum. Raises: MissingInput, BadRecord."""
        self._verify(self._row_path())

    def _verify(self, path: Path) -> None:
        if not path.is_file():
            raise MissingInput(f"{path} is not there; re-run invoke save-acts")
        if sha256(path) != self.manifest.outputs.get(str(path.relative_to(self.folder))):
            raise BadRecord(
                f"{path} was altered after it was written; delete it and re-run invoke save-acts"
            )


def write_traces(folder: Path, traces: Iterable[tuple[RowTable, ActSequence]]) -> tuple[Path, Path]:
    """Write `rows.parquet` and `sequences.parquet` from the rows and the sequence of each trace;
    return their paths.

    Files of these in the form of older versions are removed. Raises: BadRecord.
    """
    rows_path, sequences_path = folder / ROWS, folder / SEQUENCES
    with (
        replacing(rows_path) as rows_new,
        replacing(sequences_path) as sequences_new,
        RowWriter(rows_new) as rows_out,
        SequenceWriter(sequences_new) as sequences_out,
    ):
        for rows, sequence in traces:
            rows_out.add(rows)
            sequences_out.add(sequence)
    for old in (OLD_ROWS, OLD_SEQUENCES):
        (folder / old).unlink(missing_ok=True)
    return rows_path, sequences_path
