"""What is known of every row of a save-acts folder: target, side, fold and place, in compact
arrays. States are not touched.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.probes.targets import find_target
from rewardscope.splits import deal_folds, is_test
from rewardscope.storage.acts import ActStore
from rewardscope.storage.rows import RowTable

# Shape legend: N rows of the folder.


class Table(NamedTuple):
    """Rows [N] in the order of the shards. Rows on neither side take no part: they are no step
    ends, or have no target.

    `fold` is that of a row on the training side, else -1. `problem` and `trace` count from 0.
    """

    name: str
    target: str
    classes: bool
    problem_ids: list[str]
    value: NDArray[np.float64]
    problem: NDArray[np.int32]
    n_traces: int
    trace: NDArray[np.int32]
    step: NDArray[np.int32]
    token: NDArray[np.int32]
    token_id: NDArray[np.int32]
    test: NDArray[np.bool_]
    fold: NDArray[np.int8]
    n_folds: int

    @property
    def train(self) -> NDArray[np.bool_]:
        return self.fold >= 0

    @property
    def taken(self) -> NDArray[np.int64]:
        """The positions of the rows on either side."""
        return np.flatnonzero(self.train | self.test)


class Split(NamedTuple):
    """How problems are parted: a test share by a hash of their id, and folds of the others."""

    test_share: float
    seed: int
    folds: int


def read_table(
    rows: RowTable, target: str, split: Split, *, name: str, same: Mapping[str, str] | None = None
) -> Table:
    """Read what a probe needs of rows, which errors call `name`; `same` gives the id that stands
    for a problem, where one problem has several.

    Raises: UnknownName, MissingInput, ConfigError where no probe can be fitted or judged on them.
    """
    numbers: dict[str, int] = {}
    stands_for = [(same or {}).get(problem_id, problem_id) for problem_id in rows.problems]
    problem = np.array(
        [numbers.setdefault(problem_id, len(numbers)) for problem_id in stands_for], dtype=np.int32
    )[rows.problem_N]
    trace, n_traces = number_traces(rows)
    kind = find_target(target)
    known = rows.step_end_N & kind.known(rows)
    value = np.where(known, kind.value(rows), 0).astype(np.float64)
    if not known.any():
        raise MissingInput(f"{name}: no step end has a {target} value, so there is nothing to fit")
    held_out = np.array(
        [is_test(problem_id, share=split.test_share, seed=split.seed) for problem_id in numbers]
    )
    ids, training = list(numbers), known & ~held_out[problem]
    dealt = deal_folds(
        (ids[number] for number in np.unique(problem[training])), folds=split.folds, seed=split.seed
    )
    fold_of = np.array([dealt.get(problem_id, -1) for problem_id in ids], dtype=np.int8)
    table = Table(
        name,
        target,
        kind.classes,
        ids,
        value,
        problem,
        n_traces,
        trace,
        rows.step_N,
        rows.token_N,
        rows.token_id_N,
        test=known & held_out[problem],
        fold=np.where(training, fold_of[problem], np.int8(-1)),
        n_folds=split.folds,
    )
    _check(table)
    return table


def number_traces(rows: RowTable) -> tuple[NDArray[np.int32], int]:
    """Return the trace of each row [N], counted from 0 in order of appearance, and how many there
    are.
    """
    key_N = rows.problem_N.astype(np.int64) << 32 | rows.trace_N
    _, first, code_N = np.unique(key_N, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int32)
    place[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return place[code_N], len(first)


def _check(table: Table) -> None:
    """Raises: ConfigError where a side has too few problems, or a target that does not vary."""
    for side, rows_N in (("training", table.train), ("test", table.test)):
        n_problems, least = (
            len(np.unique(table.problem[rows_N])),
            max(2, table.n_folds if side == "training" else 2),
        )
        if n_problems < least:
            why = f"at least {least} are needed" + (f" for {least} folds" if least > 2 else "")
            raise ConfigError(
                f"{table.name}: {n_problems} of {len(table.problem_ids)} problems on the {side}"
                f" side, {why}; save acts of more problems, or pass another --seed, --test-share or"
                " --folds"
            )
        if np.ptp(table.value[rows_N]) == 0:
            raise ConfigError(
                f"{table.name}: {table.target} is {table.value[rows_N][0]:g} in all"
                f" {int(rows_N.sum())} rows on the {side} side, so a probe cannot be judged; save"
                " acts of more problems, or pass another --seed or --target"
            )


def state_blocks(store: ActStore, layer: int) -> Iterator[NDArray]:
    """Yield the states [N, D] of a layer, shard by shard."""
    for acts_ND in store.stream_layer(layer):
        yield acts_ND.numpy()
