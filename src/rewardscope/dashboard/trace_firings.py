"""The firings of all features on the few traces that the trace viewer shows."""

from collections.abc import Collection, Mapping
from typing import Any, final

import numpy as np

from rewardscope.features.firing import FiredRows

# Shape legend: E firings of a trace.


@final
class TraceFirings:
    """Firings on some sequences of each data set, by the number of the data set."""

    def __init__(self, wanted: Mapping[int, Collection[int]]) -> None:
        self._wanted = {n: np.array(sorted(lines), dtype=np.int64) for n, lines in wanted.items()}
        self._found: dict[tuple[int, int], list[np.ndarray]] = {}

    def add(self, number: int, piece: FiredRows) -> None:
        """Look at the next rows of a data set."""
        wanted = self._wanted.get(number)
        if wanted is None or not len(wanted):
            return
        sequence_E = piece.rows.sequence_N[piece.row_E]
        near = np.flatnonzero(np.isin(sequence_E, wanted))
        token_E = piece.rows.token_N[piece.row_E[near]]
        columns = np.stack([token_E, piece.feature_E[near], piece.value_E[near].astype(np.float64)])
        for line in np.unique(sequence_E[near]).tolist():
            mine = columns[:, sequence_E[near] == line]
            self._found.setdefault((number, line), []).append(mine)

    def of(self, number: int, line: int) -> dict[str, Any]:
        """Return the firings of a sequence as columns: token, feature, value, by token and the
        strongest first.
        """
        parts = self._found.get((number, line))
        if parts is None:
            return {"token": [], "feature": [], "value": []}
        token_E, feature_E, value_E = np.concatenate(parts, axis=1)
        order = np.lexsort((-value_E, token_E))
        return {
            "token": token_E[order].astype(int).tolist(),
            "feature": feature_E[order].astype(int).tolist(),
            "value": [float(f"{value:.3g}") for value in value_E[order].tolist()],
        }
