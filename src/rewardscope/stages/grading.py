"""What the generating stages share: answers taken out and graded."""

from collections.abc import Sequence

import msgspec

from rewardscope.problems.answers import Attempt, Grader
from rewardscope.problems.extraction import DEFAULT_RULE, ExtractionRule, extract
from rewardscope.records import SolvedProblem


def graded(
    solved: Sequence[SolvedProblem], *, rule: ExtractionRule = DEFAULT_RULE
) -> list[SolvedProblem]:
    """Return the rows with each trace's answer taken out, of what is no thought, and graded.

    Without a gold answer, a published verdict is taken over."""
    attempts = [
        Attempt(
            row.problem.answer,
            extract(trace.delimiter.join(trace.steps[trace.n_thinking :]), rule).answer,
            row.problem.tolerance,
        )
        for row in solved
        for trace in row.traces
    ]
    with Grader() as grader:
        judged = iter(zip(attempts, grader.grade(attempts), strict=True))
    filled = []
    for row in solved:
        traces = []
        for trace in row.traces:
            attempt, judgement = next(judged)
            traces.append(
                msgspec.structs.replace(
                    trace,
                    answer=attempt.answer,
                    correct=judgement.correct if attempt.gold else trace.published,
                )
            )
        filled.append(msgspec.structs.replace(row, traces=tuple(traces)))
    return filled
