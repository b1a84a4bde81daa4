"""Traces with step scores, from folders of save-acts and from generations files."""

import math
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rewardscope import paths
from rewardscope.errors import BadRecord
from rewardscope.records import SolvedProblem, Trace
from rewardscope.stages.named_scores import with_scores_of

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.probes.patterns import ScoredTrace
    from rewardscope.storage.acts import ActStore


By = Literal["file", "generator", "style", "subset"]


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


def read_generations(
    path: Path, *, scores: str | None = None, by: By = "file"
) -> list[ScoredTraces]:
    """Read the scored traces of a generations file: its own scores, or those of a PRM by name.

    They are parted by what `by` says of each trace; the order is that of the file.
    Raises: UnknownName, ConfigError, MissingInput.
    """
    from rewardscope.probes.patterns import ScoredTrace
    from rewardscope.storage.jsonl import read_solved

    traces: dict[str, list[ScoredTrace]] = {}
    without: Counter[str] = Counter()
    for solved in with_scores_of(read_solved(path), scores, source=path, needed=True):
        for trace in solved.traces:
            group = _group(solved, trace, by, path)
            its_traces = traces.setdefault(group, [])
            if not trace.scores:
                without[group] += 1
                continue
            its_traces.append(
                ScoredTrace(
                    solved.problem.id,
                    trace.scores,
                    tuple(float(len(step)) for step in trace.steps),
                    trace.correct,
                    trace.in_window is not False,
                )
            )
    return [
        ScoredTraces(group, found, without[group], "characters") for group, found in traces.items()
    ]


def _group(solved: SolvedProblem, trace: Trace, by: By, path: Path) -> str:
    """Return the series that a trace belongs to. Raises: BadRecord where it does not say."""
    if by == "file":
        return policy_of(path)
    found = {"generator": trace.generator, "style": trace.style, "subset": solved.problem.subset}[
        by
    ]
    if not found:
        raise BadRecord(
            f"--by {by}: trace {trace.index} of {solved.problem.id} in {path} has no {by};"
            " import it with one"
        )
    return found


def policy_of(path: Path) -> str:
    return paths.slug(path).removeprefix("math-rm-")
