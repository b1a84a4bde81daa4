"""What the generating stages share: answers taken out and graded."""

import dataclasses
from collections.abc import Sequence

from rewardscope.problems.answers import Grader, Item, extract_answer
from rewardscope.problems.steps import DELIMITER
from rewardscope.records import SolvedProblem


def graded(solved: Sequence[SolvedProblem], *, delimiter: str = DELIMITER) -> list[SolvedProblem]:
    """Return the rows with each trace's answer taken out, of what is no thought, and graded.

    Without a gold answer, a published verdict is taken over."""
    items = [
        Item(
            row.problem.answer,
            extract_answer(delimiter.join(trace.steps[trace.n_thinking :])),
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
                dataclasses.replace(
                    trace,
                    answer=item.answer,
                    correct=judgement.correct if item.gold else trace.published,
                )
            )
        filled.append(dataclasses.replace(row, traces=tuple(traces)))
    return filled
