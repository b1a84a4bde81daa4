"""The verdicts on a generations file's traces in every grading, with what votes need of them."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rewardscope.problems.answers import Attempt, Grader
from rewardscope.problems.extraction import ExtractionRule
from rewardscope.problems.judgement import GRADINGS, Grading, Judgement
from rewardscope.records import SolvedProblem
from rewardscope.search.aggregate import Aggregation, aggregate
from rewardscope.stages import answer_sources
from rewardscope.stages.votes import Judged


class Graded(NamedTuple):
    """A generations file, graded."""

    by_grading: dict[Grading, list[Judged]]
    """The verdicts, groups of equal answers and scores of every problem's traces."""
    sources: tuple[str, ...]
    """Where each trace's answer comes from."""
    gold_read: list[bool]
    """Whether the gold answer of each trace could be read."""


def judge(
    source: Path,
    solved: Sequence[SolvedProblem],
    *,
    aggregation: Aggregation,
    extract: ExtractionRule | None,
    regrade: bool,
) -> Graded:
    """Take out what answers are missing, or all by the rule `extract`, and grade them; `regrade`
    where they have a verdict as well.
    """
    rule = extract or answer_sources.rule_of(source)
    regrade = regrade or extract is not None
    traces = [(row.problem, trace) for row in solved for trace in row.traces]
    answers, sources = zip(
        *(
            answer_sources.answer_of(trace, rule=rule, anew=regrade, keep=extract is None)
            for _, trace in traces
        ),
        strict=True,
    )
    # A stored verdict is the strict one; where it is wrong, the other gradings need to know how far
    # off the answer is.
    open_ones = [i for i, (_, trace) in enumerate(traces) if regrade or not trace.correct]
    judgements = [Judgement(trace.correct) for _, trace in traces]
    spans = list(
        itertools.pairwise(itertools.accumulate((len(row.traces) for row in solved), initial=0))
    )
    with Grader() as grader:
        items = [
            Attempt(traces[i][0].answer, answers[i], traces[i][0].tolerance) for i in open_ones
        ]
        for i, found in zip(open_ones, grader.grade(items), strict=True):
            stored = traces[i][1].correct
            keeps = stored is not None and not (regrade and traces[i][0].answer)
            judgements[i] = found._replace(correct=stored) if keeps else found
        groups = grader.group([answers[start:end] for start, end in spans])
    scores = [
        aggregate(trace.scores, aggregation) if trace.scores else trace.reward
        for _, trace in traces
    ]
    weights = _as_weights(scores)
    by_grading: dict[Grading, list[Judged]] = {
        grading: [
            Judged(
                [judgement.verdict(grading) for judgement in judgements[start:end]],
                group,
                scores[start:end],
                weights[start:end],
            )
            for (start, end), group in zip(spans, groups, strict=True)
        ]
        for grading in GRADINGS
    }
    return Graded(by_grading, sources, [judgement.gold_read for judgement in judgements])


def _as_weights(scores: Sequence[float | None]) -> list[float | None]:
    """Return the scores, by the logistic function where one lies beyond 0 to 1: a vote cannot weigh
    less than nothing.
    """
    if all(0 <= score <= 1 for score in scores if score is not None):
        return list(scores)
    return [None if score is None else (1 + math.tanh(score / 2)) / 2 for score in scores]


def count_verdicts(judged: Sequence[Judged]) -> dict[str, int]:
    """Count traces that are right, wrong, and unparsed: without an answer, or with one that could
    not be read.
    """
    verdicts = [
        "right" if correct else "unparsed" if correct is None or group is None else "wrong"
        for each in judged
        for correct, group in zip(each.correct, each.groups, strict=True)
    ]
    return {name: verdicts.count(name) for name in ("right", "wrong", "unparsed")}
