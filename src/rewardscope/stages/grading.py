"""What the generating stages share: answers taken out and graded."""

import dataclasses
from collections.abc import Sequence

from rewardscope.problems.answers import Grader, extract_answer
from rewardscope.problems.steps import DELIMITER
from rewardscope.records import SolvedProblem


def graded(solved: Sequence[SolvedProblem], *, delimiter: str = DELIMITER) -> list[SolvedProblem]:
    """Return the rows with each trace's answer taken out and graded."""
    traces = [(row.problem.answer, extract_answer(delimiter.join(trace.steps))) for row in solved for trace in row.traces]
    with Grader() as grader:
        verdicts = iter(zip(traces, grader.grade(traces), strict=True))
    filled = []
    for row in solved:
        judged = [dataclasses.replace(trace, answer=answer, correct=correct) for trace, ((_, answer), correct) in zip(row.traces, verdicts)]  # noqa: B905 - the verdicts run on over the rows
        filled.append(dataclasses.replace(row, traces=tuple(judged)))
    return filled
