"""Contexts of features by how strongly they fire: the strongest, and chance ones of the middle and
the low third of each feature's activations.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from rewardscope.features.contexts import Example, ShownFirings, TopPeaks, top_examples
from rewardscope.features.firing import DataSet
from rewardscope.storage.rows import RowTable

# Shape legend: E firings, T features that are shown.
THIRDS = ("low", "middle", "top")  # of 0 to a feature's largest activation


class Examples(NamedTuple):
    """Of each feature its contexts: the strongest first, then those of the middle and the low
    third in an order of chance.
    """

    top: list[list[Example]]
    middle: list[list[Example]]
    low: list[list[Example]]


@final
class Peaks:
    """What is kept of one data set while its rows go by: the `n` strongest firings of each feature,
    and `n_chance` of the middle and of the low third, each at most once a trace.
    """

    def __init__(self, max_T: np.ndarray, *, n: int, n_chance: int, seed: int) -> None:
        self.max_T, self._seed, self._n_rows = max_T.astype(np.float32), seed, 0
        self.top = TopPeaks(len(max_T), n)
        self.low, self.middle = (TopPeaks(len(max_T), n_chance) for _ in range(2))

    def add(self, rows: RowTable, firings: ShownFirings) -> None:
        """Look at the next rows."""
        self.top.add(rows, firings)
        third_E = np.minimum(2, (3 * firings.value_E / self.max_T[firings.place_E]).astype(int))
        chance_E = _chance(self._n_rows + firings.row_E, firings.place_E, self._seed)
        for third, peaks in enumerate((self.low, self.middle)):
            mine = np.flatnonzero(third_E == third)
            columns = (firings.place_E[mine], firings.row_E[mine], chance_E[mine])
            peaks.add(rows, ShownFirings(*columns))
        self._n_rows += len(rows)


def _chance(row_E: np.ndarray, place_E: np.ndarray, seed: int) -> np.ndarray:
    """Return numbers in (0, 1] that depend on row, feature and seed alone.

    Source: the finaliser of MurmurHash3, 64 bit.
    """
    mixed_E = row_E.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed_E ^= (place_E.astype(np.uint64) + np.uint64(seed + 1)) * np.uint64(0xC2B2AE3D27D4EB4F)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed_E ^= mixed_E >> np.uint64(33)
        mixed_E *= np.uint64(factor)
    mixed_E ^= mixed_E >> np.uint64(33)
    return ((mixed_E >> np.uint64(40)).astype(np.float32) + 1) / np.float32(1 << 24)


def collect(
    data_sets: Sequence[DataSet],
    peaks: Sequence[Peaks],
    *,
    n: int,
    n_chance: int,
    before: int,
    after: int,
) -> Examples:
    """Return the contexts over all data sets; their activations are filled in by `fill`."""
    n_shown = len(peaks[0].max_T)
    return Examples(
        *(
            top_examples(data_sets, tops, n_shown=n_shown, n=many, before=before, after=after)
            for tops, many in (
                ([one.top for one in peaks], n),
                ([one.middle for one in peaks], n_chance),
                ([one.low for one in peaks], n_chance),
            )
        )
    )
