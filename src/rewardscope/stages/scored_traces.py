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

    A first step's length is known only where all tokens before its end were kept, which of a sample
    of tokens nobody can tell.
    """
    from rewardscope.probes.patterns import ScoredTrace
    from rewardscope.storage.acts import ActStore

    store = ActStore(folder)
    kept, window = _kept_tokens(store), store.info.window
    traces, without = [], 0
    for number, sequence in enumerate(store.sequences.without_texts()):
        ends, first = sequence.step_ends, int(kept.first_S[number])
        if not sequence.scores:
            without += 1
            continue
        # folders of older versions do not say which tokens they hold
        all_kept = first < ends[0] and kept.count_S[number] == ends[-1] - first + 1
        if store.info.positions is not None:
            all_kept = store.info.positions == "all-tokens"
        lengths = [
            ends[0] - first + 1 if all_kept else math.nan,
            *(b - a for a, b in pairwise(ends)),
        ]
        in_window = bool(kept.in_window_S[number]) if window is None else ends[-1] < window
        traces.append(
            ScoredTrace(
                sequence.problem, sequence.scores, tuple(lengths), sequence.correct, in_window
            )
        )
    return ScoredTraces(policy_of(folder), traces, without, "tokens")


class _KeptTokens(NamedTuple):
    """Of each sequence: the first position that was kept (a large number for none), how many were,
    and whether all of them are within the window.
    """

    first_S: "np.ndarray"
    count_S: "np.ndarray"
    in_window_S: "np.ndarray"


def _kept_tokens(store: "ActStore") -> _KeptTokens:
    import numpy as np

    n = len(store.sequences)
    kept = _KeptTokens(np.full(n, sys.maxsize), np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool))
    for rows in store.row_groups():
        known = rows.sequence_N >= 0
        np.minimum.at(kept.first_S, rows.sequence_N[known], rows.token_N[known])
        np.add.at(kept.count_S, rows.sequence_N[known], 1)
        kept.in_window_S[rows.sequence_N[known & ~rows.in_window_N]] = False
    return kept


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
            group = _group(solved, trace, by, path) + (f", {scores}" if scores else "")
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
