"""How often and on what features fire, from sparse codes only, a shard at a time: nothing of the
size rows x features is ever made, and nothing grows with the rows.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch

from rewardscope.errors import BadRecord
from rewardscope.features.categories import CATEGORIES, category_of
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.acts import ActStore
from rewardscope.storage.rows import RowReader, RowTable

# Shape legend: N rows, K active features a row, F features, P problems, C token categories, E
# firings.


class DataSet(NamedTuple):
    """A save-acts folder; its rows, token texts and states are read as they are needed."""

    name: str
    store: ActStore
    every_token: bool  # False where only step ends were captured
    tagged: bool
    """Whether a step ends at a tag, one and the same token. A policy, and a PRM that is read at the
    last token of a step, has none."""


class FiredRows(NamedTuple):
    """The firings of one SAE on consecutive rows, in row order: N K entries less those of value
    0.
    """

    rows: RowTable
    row_E: np.ndarray  # position in `rows`
    feature_E: np.ndarray  # int32
    value_E: np.ndarray  # float32, above 0


class FiringSums(NamedTuple):
    """Sums over the rows of a data set, for one SAE."""

    problems: tuple[str, ...]
    rows_P: np.ndarray  # rows of each problem
    count_PF: np.ndarray  # float32: rows of a problem in which a feature fires
    sum_F: np.ndarray  # activations summed over rows, float64
    max_F: np.ndarray
    mass_CF: np.ndarray  # activations summed over the rows of a category, float64

    @property
    def n_rows(self) -> int:
        return int(self.rows_P.sum())

    @property
    def rate_F(self) -> np.ndarray:
        """Share of rows in which each feature fires."""
        return self.count_PF.sum(axis=0, dtype=np.float64) / self.n_rows

    @property
    def mean_F(self) -> np.ndarray:
        """Mean activation over all rows, firing or not."""
        return self.sum_F / self.n_rows


def open_data_set(name: str, store: ActStore) -> DataSet:
    """Look at the rows of a save-acts folder once.

    Raises: MissingInput; BadRecord where a row has no sequence.
    """
    every_token, n_sequences = False, len(store.sequences)
    end_ids: set[int] = set()
    for rows in store.row_groups():
        every_token |= not bool(rows.step_end_N.all())
        end_ids.update(np.unique(rows.token_id_N[rows.step_end_N]).tolist())
        orphans = np.flatnonzero((rows.sequence_N < 0) | (rows.sequence_N >= n_sequences))
        if len(orphans):
            problem = rows.problems[int(rows.problem_N[orphans[0]])]
            raise BadRecord(
                f"{store.folder}: no sequence for trace {rows.trace_N[orphans[0]]} of {problem};"
                " re-run invoke save-acts"
            )
    tagged = store.info.mode == "rm" and len(end_ids) <= 1
    return DataSet(name, store, every_token, tagged)


@final
class RowTexts:
    """What each row of a data set stands for, read along with the rows: a position in `texts`,
    which grows, and the category of that text.

    With every token captured, a row at a step tag is a `step_tag`. Where only step ends were
    captured, each stands for the token before its step tag. Without tags a step end is a token of
    the step, and stands for itself.
    """

    def __init__(self, data: DataSet) -> None:
        self._reader = data.store.sequences.text_reader()
        self._marks_tags = data.tagged and data.every_token
        self._hides_tags = data.tagged and not data.every_token
        self._category = np.zeros(0, dtype=np.uint8)

    @property
    def texts(self) -> list[str]:
        return self._reader.texts

    def read(self, rows: RowTable) -> tuple[np.ndarray, np.ndarray]:
        """Return the text and the category of each row, as positions in `texts` and CATEGORIES."""
        back_N = rows.step_end_N if self._hides_tags else 0
        text_N = self._reader.read(rows.sequence_N, np.maximum(0, rows.token_N - back_N))
        new = [CATEGORIES.index(category_of(text)) for text in self.texts[len(self._category) :]]
        self._category = np.append(self._category, np.array(new, dtype=np.uint8))
        category_N = self._category[text_N]
        if self._marks_tags:
            category_N[rows.step_end_N] = CATEGORIES.index("step_tag")
        return text_N, category_N


def encode_store(sae: Sae, store: ActStore, *, device: torch.device) -> Iterator[FiredRows]:
    """Encode all rows of the SAE's layer, a shard at a time.

    Raises: BadRecord for another layer or width.
    """
    sae.check(layer=sae.layer, width=store.width, where=str(store.folder))
    for acts_ND, rows in store.stream(sae.layer):
        codes = sae.encode(acts_ND.to(device))
        fires_NK = codes.values_NK > 0
        yield FiredRows(
            rows,
            fires_NK.nonzero()[:, 0].cpu().numpy(),
            codes.indices_NK[fires_NK].int().cpu().numpy(),
            codes.values_NK[fires_NK].cpu().numpy(),
        )


@final
class FiringFile:
    """The firings of one SAE on one data set on disk, 12 bytes each, in a file without a name that
    is gone when it is closed, or its process. Use as a context.
    """

    def __init__(self, folder: Path, store: ActStore) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by __exit__
        self._store, self._sizes = store, list[tuple[int, int]]()

    def keep(self, pieces: Iterable[FiredRows]) -> Iterator[FiredRows]:
        """Yield the pieces, each of which was written."""
        for piece in pieces:
            self._file.write(piece.row_E.astype(np.int32).tobytes())
            self._file.write(piece.feature_E.astype(np.int32).tobytes())
            self._file.write(piece.value_E.astype(np.float32).tobytes())
            self._sizes.append((len(piece.rows), len(piece.row_E)))
            yield piece

    def read(self) -> Iterator[FiredRows]:
        """Yield the pieces that were kept."""
        self._file.seek(0)
        rows = RowReader(self._store.row_groups(), where=str(self._store.folder))
        for n_rows, n_firings in self._sizes:
            data = self._file.read(12 * n_firings)
            row_E, feature_E = np.frombuffer(data, np.int32, 2 * n_firings).reshape(2, n_firings)
            value_E = np.frombuffer(data, np.float32, n_firings, offset=8 * n_firings)
            yield FiredRows(rows.take(n_rows), row_E, feature_E, value_E)

    def __enter__(self) -> "FiringFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def sum_firings(data: DataSet, pieces: Iterable[FiredRows], *, n_features: int) -> FiringSums:
    """Add firings up by feature, by problem and by token category."""
    problems, texts = tuple(data.store.problems), RowTexts(data)
    rows_P = np.zeros(len(problems), dtype=np.int64)
    count_PF = torch.zeros(len(problems) * n_features)
    mass_CF = torch.zeros(len(CATEGORIES) * n_features, dtype=torch.float64)
    max_F = torch.zeros(n_features)
    for rows, row_E, feature_E, value_E in pieces:
        rows_P += np.bincount(rows.problem_N, minlength=len(problems))
        _, category_N = texts.read(rows)
        index_E, values_E = feature_E.astype(np.int64), torch.from_numpy(value_E)
        at_problem = torch.from_numpy(rows.problem_N[row_E] * np.int64(n_features) + index_E)
        count_PF.index_add_(0, at_problem, torch.ones(len(index_E)))
        at_category = torch.from_numpy(category_N[row_E] * np.int64(n_features) + index_E)
        mass_CF.index_add_(0, at_category, values_E.double())
        max_F.scatter_reduce_(0, torch.from_numpy(index_E), values_E, "amax")
    mass = mass_CF.view(len(CATEGORIES), n_features).numpy()
    return FiringSums(
        problems=problems,
        rows_P=rows_P,
        count_PF=count_PF.view(len(problems), n_features).numpy(),
        sum_F=mass.sum(axis=0),
        max_F=max_F.numpy(),
        mass_CF=mass,
    )
