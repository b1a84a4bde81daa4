"""Rows of a save-acts folder one by one, as tests say and read them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rewardscope.storage.acts import ActStore
from rewardscope.storage.row_files import ROWS, RowWriter
from rewardscope.storage.rows import RIGHT, UNKNOWN, RowTable, make_rows
from rewardscope.storage.sequence_files import SEQUENCES, SequenceWriter
from rewardscope.storage.sequences import ActSequence


class ActRow(NamedTuple):
    """Where one state comes from; see RowTable."""

    problem: str
    trace: int
    step: int
    token: int
    token_id: int
    is_step_end: bool
    reward: float | None
    correct: bool | None
    dataset: str = ""
    in_window: bool = True
    text_start: int = 0


def as_table(rows: Iterable[ActRow], sequences: Iterable[ActSequence] = ()) -> RowTable:
    """Return rows as columns; a row's sequence is that of its problem and trace, or -1."""
    rows = list(rows)
    numbers = {(one.problem, one.trace): number for number, one in enumerate(sequences)}
    problems = list(dict.fromkeys(row.problem for row in rows))
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    columns = {
        "problem": [problems.index(row.problem) for row in rows],
        "dataset": [datasets.index(row.dataset) for row in rows],
        "trace": [row.trace for row in rows],
        "step": [row.step for row in rows],
        "token": [row.token for row in rows],
        "token_id": [row.token_id for row in rows],
        "is_step_end": [row.is_step_end for row in rows],
        "reward": [row.reward or 0.0 for row in rows],
        "has_reward": [row.reward is not None for row in rows],
        "correct": [UNKNOWN if row.correct is None else row.correct for row in rows],
        "in_window": [row.in_window for row in rows],
        "text_start": [row.text_start for row in rows],
        "sequence": [numbers.get((row.problem, row.trace), -1) for row in rows],
    }
    return make_rows(columns, problems=problems, datasets=datasets)


def as_rows(table: RowTable) -> list[ActRow]:
    """Return the rows of a table one by one."""
    return [
        ActRow(
            problem=table.problems[table.problem_N[row]],
            trace=int(table.trace_N[row]),
            step=int(table.step_N[row]),
            token=int(table.token_N[row]),
            token_id=int(table.token_id_N[row]),
            is_step_end=bool(table.step_end_N[row]),
            reward=float(table.reward_N[row]) if table.has_reward_N[row] else None,
            correct=None
            if table.correct_N[row] == UNKNOWN
            else bool(table.correct_N[row] == RIGHT),
            dataset=table.datasets[table.dataset_N[row]],
            in_window=bool(table.in_window_N[row]),
            text_start=int(table.text_start_N[row]),
        )
        for row in range(len(table))
    ]


def read_act_rows(store: ActStore) -> list[ActRow]:
    """Read the rows of a folder one by one."""
    return as_rows(store.rows)


def write_act_rows(
    folder: Path, rows: Iterable[ActRow], sequences: Iterable[ActSequence]
) -> tuple[Path, Path]:
    """Write `rows.parquet` and `sequences.parquet`; return their paths."""
    sequences = list(sequences)
    folder.mkdir(parents=True, exist_ok=True)
    with RowWriter(folder / ROWS) as out:
        out.add(as_table(rows, sequences))
    with SequenceWriter(folder / SEQUENCES) as out:
        for sequence in sequences:
            out.add(sequence)
    return folder / ROWS, folder / SEQUENCES
