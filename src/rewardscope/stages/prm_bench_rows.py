"""Scored solutions of a benchmark as rows of a generations file, and read back."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.paths import slug
from rewardscope.records import Cost, Problem, SolvedProblem, Trace
from rewardscope.storage.jsonl import read_solved

if TYPE_CHECKING:
    from rewardscope.prms import Scorer
    from rewardscope.problems.prm_benchmarks import LabelledSolution, LabelledSolutions
    from rewardscope.records import Encoded


def scored_row(
    solution: "LabelledSolution",
    scores: Sequence[float],
    dataset: str,
    *,
    in_window: bool | None,
    cost: Cost,
) -> SolvedProblem:
    """Return a scored solution as a row of a generations file, with what is known of its steps."""
    problem = Problem(
        id=f"{dataset}/{solution.id}",
        dataset=dataset,
        question=solution.question,
        answer="",
        subset=solution.category,
    )
    trace = Trace(
        problem_id=problem.id,
        index=0,
        steps=solution.steps,
        scores=tuple(scores),
        labels=solution.labels,
        finish="eos",
        n_tokens=None,
        in_window=in_window,
        item=solution.id,
        generator=solution.generator,
        style=solution.style,
    )
    return SolvedProblem(problem=problem, traces=(trace,), chosen=0, cost=cost)


def scoring_cost(scorer: "Scorer", encoded: "Encoded", seconds: float) -> Cost:
    """Return what scoring one input took."""
    n_tokens = len(encoded.input_ids)
    return Cost(
        prm_tokens=n_tokens, prm_forwards=1, prm_flops=scorer.flops.of(0, n_tokens), seconds=seconds
    )


def with_scores(
    path: Path, labelled: "LabelledSolutions", *, within: bool
) -> list[tuple["LabelledSolution", tuple[float, ...]]]:
    """Return the solutions that have scores, all or those within the PRM's window."""
    scores = {
        row.problem.id: row.traces[0].scores
        for row in read_solved(path)
        if row.traces[0].in_window is not False or not within
    }
    kept = [
        (solution, scores.get(f"{slug(path)}/{solution.id}")) for solution in labelled.solutions
    ]
    return [(solution, found) for solution, found in kept if found is not None]
