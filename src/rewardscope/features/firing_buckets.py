"""The firings of one SAE on one data set on disk, sorted into buckets of features, so that a chunk
of features is read without the others.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from rewardscope.features.firing import FiredRows

# Shape legend: E firings, B buckets.
BUCKET = 1024  # features


class Firings(NamedTuple):
    """The firings of some features on the next `n_rows` rows."""

    n_rows: int
    row_E: np.ndarray  # int32, position among these rows
    feature_E: np.ndarray  # int32
    value_E: np.ndarray  # float32, above 0


@final
class FiringBuckets:
    """Writes firings, 12 bytes each, to a file without a name that is gone when it is closed, or
    its process. Use as a context.
    """

    def __init__(self, folder: Path, pieces: Iterable[FiredRows], *, n_features: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by __exit__
        self._n_features, self._n_buckets = n_features, -(-n_features // BUCKET)
        self._pieces: list[tuple[int, int, np.ndarray]] = []  # rows, place in the file, ends_B
        try:
            for piece in pieces:
                self._write(piece)
        except BaseException:
            self._file.close()
            raise

    def _write(self, piece: FiredRows) -> None:
        bucket_E = piece.feature_E // BUCKET
        ends_B = np.cumsum(np.bincount(bucket_E, minlength=self._n_buckets))
        self._pieces.append((len(piece.rows), self._file.tell(), ends_B.astype(np.int32)))
        order = np.argsort(bucket_E, kind="stable") if self._n_buckets > 1 else slice(None)
        rows = np.empty((len(bucket_E), 3), dtype=np.int32)
        rows[:, 0], rows[:, 1] = piece.row_E[order], piece.feature_E[order]
        rows[:, 2] = piece.value_E[order].astype(np.float32).view(np.int32)
        self._file.write(rows.tobytes())

    def read(self, start: int, stop: int) -> Iterator[Firings]:
        """Yield the firings of features `start` to `stop`, in the order of the rows."""
        first, last = start // BUCKET, -(-stop // BUCKET)
        is_whole = first * BUCKET == start and stop in (last * BUCKET, self._n_features)
        for n_rows, place, ends_B in self._pieces:
            begin = int(ends_B[first - 1]) if first else 0
            self._file.seek(place + 12 * begin)
            data = self._file.read(12 * (int(ends_B[last - 1]) - begin))
            rows = np.frombuffer(data, dtype=np.int32).reshape(-1, 3)
            if not is_whole:
                rows = rows[(rows[:, 1] >= start) & (rows[:, 1] < stop)]
            value_E = np.ascontiguousarray(rows[:, 2]).view(np.float32)
            yield Firings(n_rows, rows[:, 0], rows[:, 1], value_E)

    def __enter__(self) -> "FiringBuckets":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
