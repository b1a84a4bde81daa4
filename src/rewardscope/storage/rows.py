"""The rows of a save-acts folder as arrays: where each activation comes from, without an object a
row.
"""

from typing import NamedTuple

import numpy as np

from rewardscope.errors import BadRecord
from rewardscope.records import ActRow
from rewardscope.storage.shards import ActStore

# Shape legend: N rows.
UNKNOWN, WRONG, RIGHT = -1, 0, 1


class RowTable(NamedTuple):
    """Columns in shard order.

    A value that is not known has its mask False (reward) or UNKNOWN (correct).
    """

    problems: tuple[str, ...]  # problem ids, in order of appearance
    problem_N: np.ndarray  # int32, position in `problems`
    sequence_N: np.ndarray  # int32, line of sequences.jsonl
    step_N: np.ndarray  # int32, -1 before the first step
    token_N: np.ndarray  # int32, position in the PRM input
    step_end_N: np.ndarray  # bool
    reward_N: np.ndarray  # float32, 0 where has_reward_N is False
    has_reward_N: np.ndarray  # bool
    correct_N: np.ndarray  # int8: RIGHT, WRONG or UNKNOWN, of the whole trace

    def __len__(self) -> int:
        return len(self.problem_N)


def load_rows(store: ActStore, sequences: list[dict]) -> RowTable:
    """Read the rows of a store whose `sequences` were read already.

    Raises: BadRecord where a row has no sequence.
    """
    return row_table(store.rows(), sequences, where=str(store.folder))


def row_table(rows: list[ActRow], sequences: list[dict], *, where: str) -> RowTable:
    """Turn rows into columns.

    Raises: BadRecord that names `where`, for a row of a trace without a sequence.
    """
    problems = {name: code for code, name in enumerate(dict.fromkeys(row.problem for row in rows))}
    lines = {
        (sequence["problem"], sequence["trace"]): line for line, sequence in enumerate(sequences)
    }
    orphan = next((row for row in rows if (row.problem, row.trace) not in lines), None)
    if orphan:
        raise BadRecord(
            f"{where}: no sequence for trace {orphan.trace} of {orphan.problem}; re-run invoke"
            " save-acts"
        )
    return RowTable(
        problems=tuple(problems),
        problem_N=np.array([problems[row.problem] for row in rows], dtype=np.int32),
        sequence_N=np.array([lines[row.problem, row.trace] for row in rows], dtype=np.int32),
        step_N=np.array([row.step for row in rows], dtype=np.int32),
        token_N=np.array([row.token for row in rows], dtype=np.int32),
        step_end_N=np.array([row.is_step_end for row in rows], dtype=bool),
        reward_N=np.array([row.reward or 0.0 for row in rows], dtype=np.float32),
        has_reward_N=np.array([row.reward is not None for row in rows], dtype=bool),
        correct_N=np.array(
            [UNKNOWN if row.correct is None else int(row.correct) for row in rows], dtype=np.int8
        ),
    )
