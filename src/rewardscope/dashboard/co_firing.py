"""Which features fire on the same rows: counts of pairs among the commonest, and how far each pair
is from chance.
"""

from typing import NamedTuple, final

import numpy as np
from scipy.sparse import csr_matrix

from rewardscope.features.contexts import ShownFirings

# Shape legend: N rows, T features that are shown, M of them that are partners, E firings.
MAX_PARTNERS = 4096
MAX_ROWS = 500_000  # pairs grow with the square of the features a row; more rows change little
MIN_TOGETHER = 5  # rows with both, below which chance decides
_BLOCK_ROWS = 16_384


class Partner(NamedTuple):
    """A feature that fires on the same rows as another.

    correlation: of firing or not (phi, -1 to 1). pmi: log2 of how many times more often than
    independent features both fire. together: rows with both.
    """

    place: int
    correlation: float
    pmi: float
    together: int


@final
class CoFiring:
    """Counts of rows where pairs of features fire, from every `stride`-th row; the partners are the
    first features.
    """

    def __init__(self, n_shown: int, *, n_rows: int, max_rows: int = MAX_ROWS) -> None:
        self._n_shown, self._stride = n_shown, -(-n_rows // max_rows)
        self._n_partners = min(n_shown, MAX_PARTNERS)
        self._together_TM = np.zeros((n_shown, self._n_partners), dtype=np.float32)
        self._count_T = np.zeros(n_shown)
        self._seen = self._n_rows = 0
        self._held: list[tuple[np.ndarray, np.ndarray]] = []
        self._n_held = 0

    def add(self, firings: ShownFirings, n_rows: int) -> None:
        """Look at the next `n_rows` rows."""
        kept_N = (np.arange(self._seen, self._seen + n_rows) % self._stride) == 0
        self._seen += n_rows
        number_N = self._n_held + np.cumsum(kept_N) - 1
        kept_E = kept_N[firings.row_E]
        self._held.append((number_N[firings.row_E[kept_E]], firings.place_E[kept_E]))
        self._n_held += int(kept_N.sum())
        if self._n_held >= _BLOCK_ROWS:
            self._count()

    def _count(self) -> None:
        if not self._held:
            return
        row_E, place_E = (np.concatenate(column) for column in zip(*self._held, strict=True))
        fires_NT = csr_matrix(
            (np.ones(len(row_E), dtype=np.float32), (row_E, place_E)),
            shape=(self._n_held, self._n_shown),
        )
        pairs = (fires_NT.T @ fires_NT[:, : self._n_partners]).tocoo()
        self._together_TM[pairs.row, pairs.col] += pairs.data  # each pair once
        self._count_T += np.bincount(place_E, minlength=self._n_shown)
        self._n_rows += self._n_held
        self._held, self._n_held = [], 0

    @property
    def n_counted(self) -> int:
        """Rows in which pairs were counted."""
        self._count()
        return self._n_rows

    def strongest(self, place: int, n: int) -> list[Partner]:
        """Return the `n` partners of a feature with the largest correlation above 0."""
        self._count()
        rows, together_M = self._n_rows, self._together_TM[place].astype(np.float64)
        own, others_M = self._count_T[place], self._count_T[: self._n_partners]
        with np.errstate(divide="ignore", invalid="ignore"):
            spread_M = np.sqrt(own * (rows - own) * others_M * (rows - others_M))
            correlation_M = (rows * together_M - own * others_M) / spread_M
            pmi_M = np.log2(rows * together_M / (own * others_M))
        known_M = (together_M >= MIN_TOGETHER) & np.isfinite(correlation_M) & (correlation_M > 0)
        known_M[place : place + 1] = False
        best = np.flatnonzero(known_M)
        best = best[np.argsort(-correlation_M[best], kind="stable")[:n]]
        return [
            Partner(at, float(correlation_M[at]), float(pmi_M[at]), int(together_M[at]))
            for at in best.tolist()
        ]
