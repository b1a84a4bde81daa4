"""Where the steps of a trace end, for rows that may be a sample of its tokens."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.storage.rows import RowTable


# Shape legend: N rows, E step ends of all traces.
class StepPlaces(NamedTuple):
    """The trace of each row [N], as its model input has it; -1 where no input is stored."""

    last_step: NDArray[np.int64]
    """Number of the trace's last step, from 0."""
    last_end: NDArray[np.int64]
    """Position where it ends."""
    end_before: NDArray[np.int64]
    """Position where the step before the row's own ends; -1 for rows of a first step."""


def step_places(rows: RowTable, step_ends: Iterable[Sequence[int]]) -> StepPlaces:
    """Place rows among the step ends of the inputs, which `rows.sequence_N` numbers."""
    ends_of = list(step_ends)
    count_S = np.array([len(ends) for ends in ends_of], dtype=np.int64)
    start_S = np.cumsum(np.append(0, count_S))
    end_E = np.fromiter(chain.from_iterable(ends_of), dtype=np.int64)
    n_rows = len(rows)
    found = StepPlaces(*(np.full(n_rows, -1, dtype=np.int64) for _ in StepPlaces._fields))
    number_N = rows.sequence_N.astype(np.int64)
    known = np.flatnonzero((number_N >= 0) & (number_N < len(ends_of)))
    known = known[rows.step_N[known] < count_S[number_N[known]]]
    number = number_N[known]
    found.last_step[known] = count_S[number] - 1
    found.last_end[known] = end_E[start_S[number + 1] - 1]
    later = known[rows.step_N[known] > 0]
    found.end_before[later] = end_E[start_S[number_N[later]] + rows.step_N[later] - 1]
    return found
