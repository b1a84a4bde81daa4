"""What the generating stages share: answers taken out and graded."""

from collections.abc import Sequence

import msgspec

from rewardscope.problems.answers import Grader, Item, extract_answer
from rewardscope.records import SolvedProblem


def graded(solved: Sequence[SolvedProblem]) -> list[SolvedProblem]:
    """Return the rows with each trace's answer taken out, of what is no thought, and graded.

    Without a gold answer, a published verdict is taken over."""
    items = [
        Item(
            row.problem.answer,
            extract_answer(trace.delimiter.join(trace.steps[trace.n_thinking :])),
            row.problem.tolerance,
        )
        for row in solved
        for trace in row.traces
    ]
    with Grader() as grader:
        judged = iter(zip(items, grader.grade(items), strict=True))
    filled = []
    for row in solved:
        traces = []
        for trace in row.traces:
            item, judgement = next(judged)
            traces.append(
                msgspec.structs.replace(
                    trace,
                    answer=item.answer,
                    correct=judgement.correct if item.gold else trace.published,
                )
            )
        filled.append(msgspec.structs.replace(row, traces=tuple(traces)))
    return filled
