"""How far two PRMs, or one PRM shown two inputs, agree on the same labelled solutions.

All intervals are over questions, paired. Nothing here reads files or models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rewardscope.probes.patterns import rank_correlation
from rewardscope.probes.step_errors import steps_of
from rewardscope.problems.prm_benchmark_metrics import (
    ScoredSolution,
    first_wrong,
    processbench_counts,
    processbench_f1,
)
from rewardscope.problems.prm_benchmark_report import counts_by_question
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import DIFFERENCE, PLAIN, interval, share
from rewardscope.statistics.measures import auroc_measure, mean, of_sums

# Shape legend: N rows (steps), G questions, C subsets.


class Scored(NamedTuple):
    """The scores of one PRM, by solution id, and what divides right from wrong."""

    scored: Mapping[str, ScoredSolution]
    threshold: float


def agreement(this: Scored, other: Scored, *, seed: int) -> dict[str, Any] | None:
    """Return how `this` and `other` agree on the solutions that both have scored, and how far
    `this` is above `other`; None where they have none in common.
    """
    ids = [name for name in this.scored if name in other.scored]
    if not ids:
        return None
    mine, theirs = ([each.scored[name] for name in ids] for each in (this, other))
    ours, others = steps_of(mine), steps_of(theirs)
    draws = draw(ours.question, seed=seed)
    same_N = (ours.score <= this.threshold) == (others.score <= other.threshold)
    found = {
        "solutions": len(ids),
        "steps": len(ours.score),
        "spearman": rank_correlation(ours.score, others.score, ours.question, seed=seed),
        "same_verdict": share(same_N.astype(np.float64), draws),
    }
    for name, wrong in (("right", 0), ("wrong", 1)):
        inside = ours.wrong == wrong
        if inside.any():
            its = draws.among(inside)
            change_N = (ours.score - others.score)[inside]
            found[f"change_on_{name}_steps"] = interval(mean(change_N, its), its, scale=PLAIN)
    known = np.isfinite(ours.wrong)
    wrong_N = ours.wrong[known]
    if 0 < wrong_N.sum() < len(wrong_N):
        its = draws.among(known)
        difference = auroc_measure(wrong_N, -ours.score[known], its) - auroc_measure(
            wrong_N, -others.score[known], its
        )
        found["auroc_difference"] = interval(difference, its, scale=DIFFERENCE)
    if all(solution.benchmark == "processbench" for solution, _ in mine):
        found |= _processbench(mine, theirs, (this.threshold, other.threshold), seed)
    return found


def _processbench(
    mine: Sequence[ScoredSolution],
    theirs: Sequence[ScoredSolution],
    thresholds: tuple[float, float],
    seed: int,
) -> dict[str, Any]:
    """Return the differences of the average F1 and of the accuracy on solutions with an error, and
    which of the two finds the first wrong steps.
    """
    both_GCK = [
        counts_by_question(scored, [processbench_counts(*pair, threshold) for pair in scored])[1]
        for scored, threshold in zip((mine, theirs), thresholds, strict=True)
    ]
    # Subsets that have solutions of both kinds: the others have no F1.
    whole_C = (both_GCK[0].sum(axis=0)[:, [0, 2]] > 0).all(axis=1)
    both_GCK = [counts_GCK[:, whole_C] for counts_GCK in both_GCK]
    counts_GX = np.concatenate([counts.reshape(len(counts), -1) for counts in both_GCK], axis=1)
    draws = draw(np.arange(len(counts_GX)), seed=seed)

    def difference(totals: np.ndarray) -> np.ndarray:
        found = []
        for total in totals.reshape(-1, 2, int(whole_C.sum()), 4):
            this, other = (np.mean([processbench_f1(row) for row in each]) for each in total)
            found.append(this - other)
        return np.array(found)

    found: dict[str, Any] = {}
    if whole_C.any():
        measured = of_sums(difference, draws.sums(*counts_GX.T), draws)
        found["f1_difference"] = interval(measured, draws, scale=DIFFERENCE)
    questions, hits = [], []
    for (solution, scores), (_, other_scores) in zip(mine, theirs, strict=True):
        if solution.wrong:
            questions.append(solution.question)
            hits.append(
                [
                    first_wrong(each, threshold) == solution.wrong[0]
                    for each, threshold in zip((scores, other_scores), thresholds, strict=True)
                ]
            )
    if hits:
        this_N, other_N = np.array(hits).T
        question = np.unique(questions, return_inverse=True)[1]
        its = draw(question, seed=seed)
        difference_N = this_N.astype(np.float64) - other_N
        found["error_accuracy_difference"] = interval(
            mean(difference_N, its), its, scale=DIFFERENCE
        )
        found["first_errors_found"] = {
            name: share(value_N.astype(np.float64), its)
            for name, value_N in (
                ("both", this_N & other_N),
                ("this alone", this_N & ~other_N),
                ("other alone", ~this_N & other_N),
                ("neither", ~this_N & ~other_N),
            )
        }
    return found
