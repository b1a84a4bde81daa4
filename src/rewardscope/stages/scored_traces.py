"""Traces with step scores, from folders of save-acts and from generations files."""

import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rewardscope import paths

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.probes.patterns import ScoredTrace
    from rewardscope.storage.acts import ActStore


class ScoredTraces(NamedTuple):
    """The scored traces of one policy, and how many had no scores."""

    policy: str
    traces: "list[ScoredTrace]"
    without_scores: int
    unit: str


def read_folder(folder: Path) -> ScoredTraces:
    """Read a folder of save-acts.

    A first step's length is known only where the tokens before its end were kept.
    """
    from rewardscope.probes.patterns import ScoredTrace
    from rewardscope.storage.acts import ActStore

    store = ActStore(folder)
    first_S, in_window_S = _first_tokens(store)
    traces, without = [], 0
    for number, sequence in enumerate(store.sequences.without_texts()):
        ends, before = sequence.step_ends, int(first_S[number])
        if not sequence.scores:
            without += 1
            continue
        lengths = [
            ends[0] - before + 1 if before < ends[0] else math.nan,
            *(b - a for a, b in pairwise(ends)),
        ]
        traces.append(
            ScoredTrace(
                sequence.problem,
                sequence.scores,
                tuple(lengths),
                sequence.correct,
                bool(in_window_S[number]),
            )
        )
    return ScoredTraces(policy_of(folder), traces, without, "tokens")


def _first_tokens(store: "ActStore") -> "tuple[np.ndarray, np.ndarray]":
    """Return for each sequence the first position that was kept (a large number for none), and
    whether all of them are within the window.
    """
    import numpy as np

    n_sequences = len(store.sequences)
    first_S, in_window_S = np.full(n_sequences, sys.maxsize), np.ones(n_sequences, dtype=bool)
    for rows in store.row_groups():
        known = rows.sequence_N >= 0
        np.minimum.at(first_S, rows.sequence_N[known], rows.token_N[known])
        in_window_S[rows.sequence_N[known & ~rows.in_window_N]] = False
    return first_S, in_window_S


def read_generations(path: Path) -> ScoredTraces:
    """Read the scored traces of a generations file."""
    from rewardscope.probes.patterns import ScoredTrace
    from rewardscope.storage.jsonl import read_solved

    traces, without = [], 0
    for solved in read_solved(path):
        for trace in solved.traces:
            if not trace.scores:
                without += 1
                continue
            lengths = tuple(float(len(step)) for step in trace.steps)
            traces.append(
                ScoredTrace(
                    solved.problem.id,
                    trace.scores,
                    lengths,
                    trace.correct,
                    trace.in_window is not False,
                )
            )
    return ScoredTraces(policy_of(path), traces, without, "characters")


def policy_of(path: Path) -> str:
    return paths.slug(path).removeprefix("math-rm-")
