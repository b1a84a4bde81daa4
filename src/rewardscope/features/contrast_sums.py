"""Sums of firings over the rows of two data sets, for a chunk of features and every control at
once: what the comparison is made of. Nothing here grows with the rows.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from scipy import sparse

from rewardscope.features.categories import CATEGORIES
from rewardscope.features.controls import NONE, Control, Matching, match
from rewardscope.features.firing_buckets import FiringBuckets, Firings
from rewardscope.features.row_codes import PairRows, RowCodes

# Shape legend: N rows, E firings, P problems, F features of the chunk, S strata, T traces,
# C categories, W words and before them what is in no window.
_BYTES = 256 * 2**20  # what the sums of a chunk may take
_RANKS = 6  # tables of traces that an AUROC takes
_FEW = 256  # strata that are counted in float64; more of them have fewer rows each


class MatchedSums(NamedTuple):
    """Sums of one control."""

    total_2PF: np.ndarray
    """Weights of the rows of a problem in which a feature fires, float64."""
    pooled_SF: np.ndarray
    """Rows of a stratum, of both sides, in which a feature fires; float32 where strata are many."""


def unmatched(rows_2P: np.ndarray, count_2PF: np.ndarray) -> tuple[Matching, MatchedSums]:
    """Return the comparison of all rows from the rows of each side and problem, and those in which
    each feature fires.
    """
    control = Control(NONE, 1, lambda codes: np.zeros(len(codes.token), dtype=np.int64))
    sides_2P = np.repeat([[0], [1]], rows_2P.shape[1], axis=1)
    rows_2P, count_2PF = rows_2P.astype(np.float64), count_2PF.astype(np.float64)
    m = match(control, sparse.csr_matrix(rows_2P.reshape(-1, 1)), rows_2P, sides_2P)
    return m, _sums(m, count_2PF * m.weight_2S[:, :1, None], None)


def chunk_size(pair: PairRows, matchings: Sequence[Matching], *, n_features: int) -> int:
    """Return how many features are summed at once: their sums take some 256 MiB at most."""
    strata = sum(m.n_strata for m in matchings if m.n_strata > 1)
    by_problem, by_trace = 2 * len(pair.problems) * len(matchings), _RANKS * len(pair.rows_T)
    sums = by_problem + by_trace + len(CATEGORIES)
    return max(16, min(n_features, _BYTES // (8 * (sums + strata))))


def firing_pieces(
    pair: PairRows, files: Sequence[FiringBuckets], start: int, stop: int
) -> Iterator[tuple[int, RowCodes, Firings]]:
    """Yield the firings of some features with the codes of their rows, and the side."""
    for side, file in enumerate(files):
        reader = pair.reader(side)
        for firings in file.read(start, stop):
            yield side, reader.take(firings.n_rows), firings


def sum_matched(
    pair: PairRows,
    files: Sequence[FiringBuckets],
    matchings: Sequence[Matching],
    side_2P: np.ndarray,
    *,
    start: int,
    stop: int,
) -> list[MatchedSums]:
    """Add up the firings of features `start` to `stop` for every control; `side_2P` as in
    `match`.
    """
    n_problems, n_features = len(pair.problems), stop - start
    totals = [torch.zeros(2 * n_problems * n_features, dtype=torch.float64) for _ in matchings]
    pooled = [
        torch.zeros((m.n_strata + 1) * n_features, dtype=_kind(m)) if m.n_strata > 1 else None
        for m in matchings
    ]
    for side, codes, firings in firing_pieces(pair, files, start, stop):
        problem_N = pair.problem_T[codes.trace]
        side_N = side_2P[side, problem_N]
        at_N = (side_N * n_problems + problem_N) * n_features
        row_E, feature_E = firings.row_E, firings.feature_E - np.int64(start)
        index_E = torch.from_numpy(at_N[row_E] + feature_E)
        for m, total, strata in zip(matchings, totals, pooled, strict=True):
            place_N = m.places(codes)
            weight_N = np.where(place_N >= 0, m.weight_2S[side_N, place_N], 0.0)
            total.index_add_(0, index_E, torch.from_numpy(weight_N[row_E]))
            if strata is not None:
                place_N = np.where(place_N >= 0, place_N, m.n_strata) * n_features
                ones_E = torch.ones(len(row_E), dtype=strata.dtype)
                strata.index_add_(0, torch.from_numpy(place_N[row_E] + feature_E), ones_E)
    return [
        _sums(m, total.view(2, n_problems, n_features).numpy(), strata)
        for m, total, strata in zip(matchings, totals, pooled, strict=True)
    ]


def _kind(m: Matching) -> torch.dtype:
    return torch.float64 if m.n_strata <= _FEW else torch.float32


def _sums(m: Matching, total_2PF: np.ndarray, strata: torch.Tensor | None) -> MatchedSums:
    if strata is not None:
        return MatchedSums(total_2PF, strata.view(m.n_strata + 1, -1)[:-1].numpy())
    # In one stratum every row of a side weighs the same.
    return MatchedSums(total_2PF, (m.n_2S[:, :1] * total_2PF.sum(axis=1)).sum(axis=0)[None])


def sum_traces(
    pair: PairRows, files: Sequence[FiringBuckets], *, start: int, stop: int
) -> np.ndarray:
    """Return the activations summed over the rows of each trace, [T, F]."""
    sums = _Sums(len(pair.rows_T), start, stop)
    for _, codes, firings in firing_pieces(pair, files, start, stop):
        sums.add(codes.trace, firings)
    return sums.table


def sum_categories(
    pair: PairRows, files: Sequence[FiringBuckets], *, start: int, stop: int
) -> np.ndarray:
    """Return the activations summed over the rows of each category of tokens, [C, F]."""
    sums = _Sums(len(CATEGORIES), start, stop)
    for _, codes, firings in firing_pieces(pair, files, start, stop):
        sums.add(codes.category, firings)
    return sums.table


def sum_words(
    pair: PairRows, files: Sequence[FiringBuckets], *, n_words: int, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for the first side, the activations summed over the rows of each word's windows
    [W, F], and the number of these rows [W]; what is in no window comes first.
    """
    sums, rows_W = _Sums(n_words + 1, start, stop), np.zeros(n_words + 1, dtype=np.int64)
    for side, codes, firings in firing_pieces(pair, files, start, stop):
        if side == 0:
            sums.add(codes.word, firings)
            rows_W += np.bincount(codes.word, minlength=n_words + 1)
    return sums.table, rows_W


@final
class _Sums:
    """Activations summed by a column of the rows, [K, F]."""

    def __init__(self, n: int, start: int, stop: int) -> None:
        self._start, self._shape = start, (n, stop - start)
        self._sums = torch.zeros(n * (stop - start), dtype=torch.float64)

    def add(self, column_N: np.ndarray, firings: Firings) -> None:
        place_E = column_N[firings.row_E] * np.int64(self._shape[1])
        index_E = torch.from_numpy(place_E + (firings.feature_E - self._start))
        self._sums.index_add_(0, index_E, torch.from_numpy(firings.value_E).double())

    @property
    def table(self) -> np.ndarray:
        return self._sums.view(self._shape).numpy()
