"""How often and on what features fire, from sparse codes only: nothing of the size rows x features
is ever made.
"""

from typing import NamedTuple

import numpy as np
import torch

from rewardscope.features.categories import CATEGORIES, RowTexts, row_texts
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.rows import RowTable, load_rows
from rewardscope.storage.shards import ActStore

# Shape legend: N rows, K active features a row, F features, P problems, C token categories, E
# firings.


class DataSet(NamedTuple):
    """What a save-acts folder says about its rows; the states are read layer by layer."""

    name: str
    store: ActStore
    rows: RowTable
    sequences: list[dict]
    texts: RowTexts
    every_token: bool  # False where only step ends were captured


class Firings(NamedTuple):
    """Every firing of one SAE on one data set, in row order: N K entries less those of value 0."""

    n_rows: int
    n_features: int
    row_E: np.ndarray  # int64
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
    """Read the rows and token texts of a save-acts folder. Raises: MissingInput, BadRecord."""
    sequences = store.sequences()
    rows = load_rows(store, sequences)
    every_token = not bool(rows.step_end_N.all())
    tokens = [sequence["tokens"] for sequence in sequences]
    texts = row_texts(
        tokens, rows.sequence_N, rows.token_N, rows.step_end_N, every_token=every_token
    )
    return DataSet(name, store, rows, sequences, texts, every_token)


def encode_store(sae: Sae, store: ActStore, *, device: torch.device) -> Firings:
    """Encode all rows of the SAE's layer, a shard at a time.

    Holds 16 bytes a firing. Raises: BadRecord for another layer or width.
    """
    sae.check(layer=sae.layer, width=store.width, where=str(store.folder))
    rows, features, values, start = [], [], [], 0
    for acts_ND in store.stream_layer(sae.layer):
        codes = sae.encode(acts_ND.to(device))
        fires_NK = codes.values_NK > 0
        rows.append((fires_NK.nonzero()[:, 0] + start).cpu().numpy())
        features.append(codes.indices_NK[fires_NK].int().cpu().numpy())
        values.append(codes.values_NK[fires_NK].cpu().numpy())
        start += len(acts_ND)
    return Firings(
        start,
        sae.n_features,
        np.concatenate(rows),
        np.concatenate(features),
        np.concatenate(values),
    )


def sum_firings(
    firings: Firings, problems: tuple[str, ...], problem_N: np.ndarray, category_N: np.ndarray
) -> FiringSums:
    """Add firings up by feature, by problem and by token category."""
    n_problems, n_features = len(problems), firings.n_features
    count_PF = _add(
        problem_N[firings.row_E], firings.feature_E, None, (n_problems, n_features), torch.float32
    )
    mass_CF = _add(
        category_N[firings.row_E],
        firings.feature_E,
        firings.value_E,
        (len(CATEGORIES), n_features),
        torch.float64,
    )
    max_F = torch.zeros(n_features).scatter_reduce_(
        0, _index(firings.feature_E), torch.from_numpy(firings.value_E), "amax"
    )
    return FiringSums(
        problems=problems,
        rows_P=np.bincount(problem_N, minlength=n_problems),
        count_PF=count_PF,
        sum_F=mass_CF.sum(axis=0),
        max_F=max_F.numpy(),
        mass_CF=mass_CF,
    )


def _add(
    group_E: np.ndarray,
    feature_E: np.ndarray,
    value_E: np.ndarray | None,
    shape: tuple[int, int],
    dtype: torch.dtype,
) -> np.ndarray:
    """Return the table [groups, features] of summed values, or of counts where there are no
    values.
    """
    flat_E = torch.from_numpy(group_E.astype(np.int64) * shape[1] + feature_E)
    values_E = (
        torch.ones(len(flat_E), dtype=dtype)
        if value_E is None
        else torch.from_numpy(value_E).to(dtype)
    )
    return (
        torch.zeros(shape[0] * shape[1], dtype=dtype)
        .index_add_(0, flat_E, values_E)
        .view(shape)
        .numpy()
    )


def _index(feature_E: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(feature_E.astype(np.int64))
