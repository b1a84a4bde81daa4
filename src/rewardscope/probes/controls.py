"""What a probe must beat: shuffled targets, and predictors that read no states but the token, or
the place in the trace.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.probes.fit import fit_probe, predict_chosen
from rewardscope.probes.linreg import Array, LinearProbe
from rewardscope.probes.step_places import StepPlaces
from rewardscope.probes.table import Table
from rewardscope.storage.acts import ActStore

# Shape legend: N rows, M rows that take part, D features.
TOKEN, POSITION = "token", "position"
SHUFFLES = 5  # one alone can hit a direction that the target has by chance
_BLOCK, _MAX_TOKENS, _MAX_BINS, _LEAST_PENALTY = 1024, 256, 16, 1e-3


class Column(NamedTuple):
    """One quantity of each row [M], coded into bins: one feature a bin, and the quantity itself
    where it is a number.
    """

    value: Array
    code: NDArray[np.int64]
    """-1 where the value was too rare for a bin."""
    n_codes: int
    is_number: bool


def shuffle_targets(table: Table, *, seed: int, times: int = SHUFFLES) -> Array:
    """Return the targets [N, times] with those of the training side dealt to other problems.

    Each problem gets the targets of one other: traces in turn, and each step what the other trace
    has at the same relative position. So targets that belong together stay together, and what is
    left to learn is what all traces share.
    """
    rows = np.flatnonzero(table.train)
    rows = rows[np.lexsort((table.token[rows], table.trace[rows]))]
    traces = np.split(rows, np.flatnonzero(np.diff(table.trace[rows])) + 1)
    by_problem: dict[int, list[NDArray]] = {}
    for trace in traces:
        by_problem.setdefault(int(table.problem[trace[0]]), []).append(trace)
    rng, shuffled_NS = np.random.default_rng(seed), np.repeat(table.value[:, None], times, axis=1)
    for number in range(times):
        order = rng.permutation(sorted(by_problem))
        for problem, other in zip(order, np.roll(order, 1), strict=True):
            given = by_problem[int(other)]
            for place, trace in enumerate(by_problem[int(problem)]):
                donor = given[place % len(given)]
                steps = ((np.arange(len(trace)) + 0.5) / len(trace) * len(donor)).astype(np.int64)
                shuffled_NS[trace, number] = table.value[donor[steps]]
    return shuffled_NS


def token_columns(store: ActStore, table: Table) -> list[Column]:
    """Return the row's own token and the one before it, the 256 most frequent of the training side
    each.

    A PRM scores many steps at one and the same token; then it is the token before that tells steps
    apart.
    """
    rows = table.taken
    before = _tokens_before(store)[rows]
    training = table.train[rows]
    return [_named(codes, training) for codes in (table.token_id[rows].astype(np.int64), before)]


def position_columns(table: Table, places: StepPlaces | None = None) -> list[Column]:
    """Return step index, relative position, number of steps, token position, length of trace and
    length of step, each as a number and in up to 16 bins of equal counts, so that curves are found.

    Where a trace is not in `places` its steps are those of the kept rows: of a sample of tokens
    that says little. A first step's length counts from the first of its tokens where all were kept,
    else it is 0.
    """
    rows = table.taken
    trace, step, token = table.trace[rows], table.step[rows], table.token[rows]
    last_step, last_token, start, whole = _kept(table)
    n_steps, length_of_trace, before = last_step[trace], last_token[trace], _end_before(table)
    if places is not None:
        known = places.last_step[rows] >= 0
        n_steps = np.where(known, places.last_step[rows], n_steps)
        length_of_trace = np.where(known, places.last_end[rows], length_of_trace)
        before = np.where(known, places.end_before[rows], before)
        whole[trace[known]] &= last_token[trace[known]] == places.last_end[rows][known]
    first = np.where(whole[trace], start[trace], token)
    length = token - np.where(before >= 0, before, first)
    values = (step, (step + 1) / (n_steps + 1), n_steps, token, length_of_trace, length)
    return [_binned(value.astype(np.float64), table.train[rows]) for value in values]


class _Kept(NamedTuple):
    """Of each trace, in its kept rows: the last step, the last and the first position, and whether
    no position between them is left out.
    """

    last_step: NDArray[np.int64]
    last_token: NDArray[np.int64]
    first_token: NDArray[np.int64]
    whole: NDArray[np.bool_]


def _kept(table: Table) -> _Kept:
    last_step, last_token = (np.zeros(table.n_traces, dtype=np.int64) for _ in range(2))
    np.maximum.at(last_step, table.trace, table.step)
    np.maximum.at(last_token, table.trace, table.token)
    first_token, count = last_token.copy(), np.bincount(table.trace, minlength=table.n_traces)
    np.minimum.at(first_token, table.trace, table.token)
    return _Kept(last_step, last_token, first_token, count == last_token - first_token + 1)


def _end_before(table: Table) -> NDArray[np.int64]:
    """Return the position of the row before in the same trace, among those that take part; -1 where
    there is none.
    """
    rows = table.taken
    trace, token = table.trace[rows], table.token[rows].astype(np.int64)
    order = np.lexsort((token, trace))
    same = np.append(False, np.diff(trace[order]) == 0)
    before = np.full(len(rows), -1, dtype=np.int64)
    before[order] = np.where(same, np.roll(token[order], 1), -1)
    return before


def fit_columns(
    columns: list[Column], table: Table, *, penalties: tuple[float, ...]
) -> tuple[LinearProbe, Array]:
    """Fit a predictor that reads columns instead of states; return it with its predictions of the
    test rows, in order.

    The bins of a column add up to one, so penalties below 0.001 are raised to it.
    """

    def source() -> Iterator[NDArray]:
        return _blocks(columns)

    rows, raised = (
        table.taken,
        tuple(dict.fromkeys(max(penalty, _LEAST_PENALTY) for penalty in penalties)),
    )
    probe = fit_probe(
        source,
        table.value[rows],
        table.fold[rows],
        folds=table.n_folds,
        penalties=raised,
        classes=table.classes,
    )
    return probe, predict_chosen(source, [probe], table.test[rows])[:, 0]


def _tokens_before(store: ActStore) -> NDArray[np.int64]:
    """Return a number for the text of the token before each row [N]; -1 where no text is stored."""
    reader = store.sequences.text_reader()
    parts = [reader.read(rows.sequence_N, rows.token_N - 1) for rows in store.row_groups()]
    return np.concatenate(parts).astype(np.int64)


def _named(value_M: NDArray[np.int64], training_M: NDArray[np.bool_]) -> Column:
    """Return a column of names: a bin for each of the most frequent on the training side."""
    names, counts = np.unique(value_M[training_M], return_counts=True)
    kept = np.sort(names[np.argsort(-counts, kind="stable")[:_MAX_TOKENS]])
    place_M = np.minimum(np.searchsorted(kept, value_M), len(kept) - 1)
    return Column(
        value_M.astype(np.float64),
        np.where(kept[place_M] == value_M, place_M, -1),
        len(kept),
        is_number=False,
    )


def _binned(value_M: Array, training_M: NDArray[np.bool_]) -> Column:
    """Return a column of numbers: bins between quantiles of the training side."""
    edges = np.unique(
        np.quantile(value_M[training_M], np.linspace(0, 1, _MAX_BINS + 1)[1:-1], method="higher")
    )
    return Column(
        value_M, np.searchsorted(edges, value_M, side="right"), len(edges) + 1, is_number=True
    )


def _blocks(columns: list[Column]) -> Iterator[NDArray]:
    """Yield the features [rows, D] of columns."""
    n, width = len(columns[0].value), sum(column.n_codes + column.is_number for column in columns)
    for start in range(0, n, _BLOCK):
        end = min(n, start + _BLOCK)
        block, place = np.zeros((end - start, width)), 0
        for column in columns:
            code = column.code[start:end]
            known = np.flatnonzero(code >= 0)
            block[known, place + code[known]] = 1
            place += column.n_codes
            if column.is_number:
                block[:, place] = column.value[start:end]
                place += 1
        yield block
