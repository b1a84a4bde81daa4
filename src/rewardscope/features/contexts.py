"""The strongest contexts of features, kept to a few a feature while the rows go by."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, final

import numpy as np

from rewardscope.features.firing import DataSet, FiredRows
from rewardscope.storage.rows import RowTable

# Shape legend: N rows, E firings, T features that are shown, M contexts that are kept.


class Example(NamedTuple):
    """A context: the tokens [start, end) of a sequence, and the activation at each position in it
    where the feature fires.
    """

    data_set: int
    sequence: int
    position: int  # of the maximum
    start: int
    end: int
    activations: dict[int, float]


class ShownFirings(NamedTuple):
    """The firings of the features that are shown, on consecutive rows, in row order."""

    place_E: np.ndarray  # int64, position of the feature among those shown
    row_E: np.ndarray
    value_E: np.ndarray


def of_shown(piece: FiredRows, place_F: np.ndarray) -> ShownFirings:
    """Return the firings of the features whose place is not -1."""
    place_E = place_F[piece.feature_E]
    kept = np.flatnonzero(place_E >= 0)
    return ShownFirings(place_E[kept], piece.row_E[kept], piece.value_E[kept])


class Peaks(NamedTuple):
    """Strong firings, by feature and the strongest first; of equal ones the first row."""

    place_M: np.ndarray
    value_M: np.ndarray
    row_M: np.ndarray  # in the data set
    sequence_M: np.ndarray
    token_M: np.ndarray


@final
class TopPeaks:
    """The `n` strongest firings of each feature on one data set, at most one a trace."""

    def __init__(self, n_shown: int, n: int) -> None:
        self._n, self._n_rows = n, 0
        self._least_T = np.zeros(n_shown, dtype=np.float32)  # what is not above it has no place
        self.peaks = Peaks(*(np.zeros(0, dtype=kind) for kind in ("i8", "f4", "i8", "i4", "i4")))

    def add(self, rows: RowTable, firings: ShownFirings) -> None:
        """Look at the next rows."""
        strong = np.flatnonzero(firings.value_E > self._least_T[firings.place_E])
        row_E = firings.row_E[strong]
        found = Peaks(
            firings.place_E[strong],
            firings.value_E[strong],
            row_E.astype(np.int64) + self._n_rows,
            rows.sequence_N[row_E],
            rows.token_N[row_E],
        )
        self._n_rows += len(rows)
        if len(strong):
            self._keep(Peaks(*map(np.concatenate, zip(self.peaks, found, strict=True))))

    def _keep(self, peaks: Peaks) -> None:
        order = np.lexsort((peaks.row_M, -peaks.value_M, peaks.place_M))
        trace = (peaks.place_M << 32 | peaks.sequence_M)[order]
        order = order[np.sort(np.unique(trace, return_index=True)[1])]
        place = peaks.place_M[order]
        rank = np.arange(len(order)) - np.searchsorted(place, place)
        self.peaks = Peaks(*(column[order[rank < self._n]] for column in peaks))
        last = order[rank == self._n - 1]
        self._least_T[peaks.place_M[last]] = peaks.value_M[last]


def top_examples(
    data_sets: Sequence[DataSet],
    tops: Sequence[TopPeaks],
    *,
    n_shown: int,
    n: int,
    before: int,
    after: int,
) -> list[list[Example]]:
    """Return for each feature its `n` strongest contexts over all data sets, strongest first; the
    activations in them are filled in by `fill`.
    """
    examples: list[list[Example]] = [[] for _ in range(n_shown)]
    columns = [np.concatenate(column) for column in zip(*(t.peaks for t in tops), strict=True)]
    number_M = np.repeat(np.arange(len(tops)), [len(top.peaks.row_M) for top in tops])
    place_M, value_M, _, sequence_M, token_M = columns
    end_M = token_M + after + 1
    for number, data in enumerate(data_sets):
        mine = np.flatnonzero(number_M == number)
        lengths = data.store.sequences.lengths(sequence_M[mine])
        end_M[mine] = np.minimum(end_M[mine], lengths)
    for at in np.argsort(-value_M, kind="stable").tolist():
        of_feature = examples[place_M[at]]
        if len(of_feature) < n:
            position = int(token_M[at])
            where = (int(number_M[at]), int(sequence_M[at]), position)
            of_feature.append(Example(*where, max(0, position - before), int(end_M[at]), {}))
    return examples


def fill(
    examples: Sequence[Sequence[Example]],
    number: int,
    pieces: Iterable[FiredRows],
    place_F: np.ndarray,
) -> None:
    """Fill in the activations in the contexts of data set `number`, from its firings."""
    wanted: dict[int, list[tuple[int, Example]]] = {}
    for place, of_feature in enumerate(examples):
        for example in of_feature:
            if example.data_set == number:
                wanted.setdefault(example.sequence, []).append((place, example))
    sequences = np.array(sorted(wanted), dtype=np.int64)
    for piece in pieces:
        firings = of_shown(piece, place_F)
        sequence_E = piece.rows.sequence_N[firings.row_E]
        near = np.flatnonzero(np.isin(sequence_E, sequences))
        order = near[np.lexsort((near, firings.place_E[near], sequence_E[near]))]
        key_E = sequence_E[order].astype(np.int64) << 32 | firings.place_E[order]
        token_E = piece.rows.token_N[firings.row_E[order]]
        for sequence in np.unique(sequence_E[near]).tolist():
            for place, example in wanted[sequence]:
                mine = slice(
                    *np.searchsorted(key_E, [sequence << 32 | place, (sequence << 32 | place) + 1])
                )
                for token, value in zip(
                    token_E[mine].tolist(), firings.value_E[order[mine]].tolist(), strict=True
                ):
                    if example.start <= token < example.end:
                        example.activations[token] = value
