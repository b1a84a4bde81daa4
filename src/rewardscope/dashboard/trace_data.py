"""What the trace viewer shows: problems with their traces, each trace once however many sources
hold it, with the scores that each gives its steps.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rewardscope.dashboard.text_store import short
from rewardscope.features.firing import DataSet
from rewardscope.records import SolvedProblem, Trace

MAX_TRACES = 8  # of a problem from one source
PIECE = 4  # problems whose traces lie in one file


class Source(NamedTuple):
    """Where traces come from: `solutions` names the generations file that they stand in, `search`
    the method of a search whose beams have steps in common.
    """

    name: str
    solutions: str
    prm: str | None
    data_set: int | None = None
    """Its number among the folders whose features are shown."""
    search: str | None = None


class Scores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one source's PRM gives the steps of a trace; `name` is the PRM's where the source holds
    the scores of several.
    """

    source: int
    values: list[float]
    name: str = ""


class Shown(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A trace of one problem.

    Its text is `steps`, or `tokens` (positions in the table of the piece), whose first `first` are
    the prompt and whose steps end at `ends`. `acts` is [data set, sequence] where its features are
    kept.
    """

    source: int
    index: int
    scores: list[Scores]
    steps: list[str] | None = None
    tokens: list[int] | None = None
    first: int = 0
    ends: list[int] | None = None
    acts: tuple[int, int] | None = None
    correct: bool | None = None
    answer: str | None = None
    finish: str | None = None
    chosen: bool = False
    labels: list[bool | None] | None = None

    @property
    def n_steps(self) -> int:
        return len(self.steps if self.steps is not None else self.ends or ())


class Viewed(msgspec.Struct, kw_only=True):
    """A problem; question and answer are None where only a folder of states holds it."""

    id: str
    traces: list[Shown]
    question: str | None = None
    answer: str | None = None


def choose_problems(sources: Sequence[Iterable[str]], n: int) -> list[str]:
    """Return `n` problems, sorted: those that the most sources have, of equal ones the first."""
    held = Counter(name for names in sources for name in dict.fromkeys(names))
    chosen = sorted(held, key=lambda name: -held[name])[:n]  # sorted keeps the order of equals
    return sorted(chosen, key=_in_order)


def _in_order(name: str) -> list[tuple[int, str]]:
    """Return a key by which numbers in names count as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part) if i % 2 else 0, part) for i, part in enumerate(parts)]


class Traces:
    """The traces of some problems, put together from several sources."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = {name: Viewed(id=name, traces=[]) for name in problems}
        self.tokens: dict[str, int] = {}
        self._named: dict[tuple[str, str, int], Shown] = {}
        self._spelled: dict[tuple[str, tuple[str, ...]], Shown] = {}

    def add_solved(self, number: int, source: Source, solved: SolvedProblem) -> None:
        """Add the traces of a problem from a generations file."""
        problem = self.problems.get(solved.problem.id)
        if problem is None:
            return
        problem.question = solved.problem.question
        problem.answer = solved.problem.answer or problem.answer
        first = {solved.chosen, *range(min(MAX_TRACES, len(solved.traces)))}
        for at in sorted(first):
            self._add_trace(number, source, problem, solved.traces[at], at == solved.chosen)

    def _add_trace(
        self, number: int, source: Source, problem: Viewed, trace: Trace, chosen: bool
    ) -> None:
        name, spelled = (source.solutions, problem.id, trace.index), (problem.id, trace.steps)
        shown = self._named.get(name)
        if shown is None or shown.n_steps != len(trace.steps):
            shown = self._spelled.get(spelled)
        if shown is None:
            shown = Shown(source=number, index=trace.index, scores=[], steps=list(trace.steps))
            problem.traces.append(shown)
            self._named.setdefault(name, shown)
        self._spelled.setdefault(spelled, shown)
        shown.answer, shown.finish = trace.answer, trace.finish
        shown.correct = trace.correct if shown.correct is None else shown.correct
        shown.chosen |= chosen
        shown.labels = shown.labels or (list(trace.labels) if trace.labels else None)
        if trace.scores is not None:
            self._add_scores(shown, number, trace.scores)
        for scorer, scores in trace.scores_by.items():
            self._add_scores(shown, number, scores, name=scorer)

    def add_states(self, number: int, source: Source, data: DataSet) -> list[int]:
        """Add the traces of a save-acts folder; return the numbers of their sequences."""
        count, lines = Counter[str](), []
        for line, sequence in enumerate(data.store.sequences.without_texts()):
            if sequence.problem in self.problems and count[sequence.problem] < MAX_TRACES:
                count[sequence.problem] += 1
                lines.append(line)
        first = _first_tokens(data, lines)
        for line, sequence in data.store.sequences.chosen(lines):
            name = (source.solutions, sequence.problem, sequence.trace)
            shown = self._named.get(name)
            if shown is None or shown.n_steps != len(sequence.step_ends):
                codes = [self.tokens.setdefault(t, len(self.tokens)) for t in sequence.tokens]
                shown = Shown(
                    source=number,
                    index=sequence.trace,
                    scores=[],
                    tokens=codes,
                    first=first.get(line, 0),
                    ends=list(sequence.step_ends),
                    acts=None if source.data_set is None else (source.data_set, line),
                    correct=sequence.correct,
                )
                self.problems[sequence.problem].traces.append(shown)
                self._named.setdefault(name, shown)
            if sequence.scores is not None:
                self._add_scores(shown, number, sequence.scores)
        return lines

    def _add_scores(
        self, shown: Shown, number: int, scores: Sequence[float], *, name: str = ""
    ) -> None:
        known = [one for one in shown.scores if (one.source, one.name) != (number, name)]
        values = [short(score) for score in scores]
        shown.scores = [*known, Scores(source=number, values=values, name=name)]

    def pieces(self) -> Iterator[dict[str, Any]]:
        """Yield the problems, `PIECE` at a time, with the token texts that they need."""
        problems, texts = list(self.problems.values()), list(self.tokens)
        for problem in problems:
            problem.traces.sort(key=lambda trace: (trace.source, trace.index))
        for start in range(0, len(problems), PIECE):
            chosen, own = problems[start : start + PIECE], dict[int, int]()
            rows = msgspec.to_builtins(chosen)
            for trace in (trace for row in rows for trace in row["traces"]):
                if "tokens" in trace:
                    trace["tokens"] = [own.setdefault(code, len(own)) for code in trace["tokens"]]
            yield {"problems": rows, "tokens": [texts[code] for code in own]}

    def listed(self) -> list[dict[str, Any]]:
        """Return what the list of problems shows."""
        return [
            {
                "id": one.id,
                "start": (one.question or "")[:200],
                "traces": len(one.traces),
                "right": sum(trace.correct is True for trace in one.traces),
                "graded": sum(trace.correct is not None for trace in one.traces),
            }
            for one in self.problems.values()
        ]


def _first_tokens(data: DataSet, lines: Sequence[int]) -> dict[int, int]:
    """Return where the first step begins, of the sequences of which it is known."""
    if not data.every_token:
        return {}
    found: dict[int, int] = {}
    wanted = np.array(lines, dtype=np.int64)
    for rows in data.store.row_groups():
        near = np.flatnonzero(np.isin(rows.sequence_N, wanted) & (rows.step_N >= 0))
        for line, token in zip(
            rows.sequence_N[near].tolist(), rows.token_N[near].tolist(), strict=True
        ):
            found[line] = min(token, found.get(line, token))
    return found
