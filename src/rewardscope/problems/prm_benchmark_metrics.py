"""The metrics of ProcessBench and PRMBench as published, from the step scores of any PRM.

Sources: ProcessBench, arXiv 2412.06559; PRMBench, arXiv 2501.03124, and the evaluation code that
its authors publish.
"""

from collections.abc import Sequence

import numpy as np

from rewardscope.problems.prm_benchmarks import LabelledSolution

ScoredSolution = tuple[LabelledSolution, Sequence[float]]
DIMENSIONS = {
    "simplicity": ("redundency", "circular"),  # spelled as published
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
ALL_CORRECT = "multi_solutions"  # has no wrong step, so its score is the F1 of right steps alone


def first_wrong(scores: Sequence[float], threshold: float) -> int:
    """Return the position of the first step that does not score above the threshold, -1 where all
    do.
    """
    return next((position for position, score in enumerate(scores) if score <= threshold), -1)


def processbench_counts(
    solution: LabelledSolution, scores: Sequence[float], threshold: float
) -> np.ndarray:
    """Return counts [4]: solutions with an error, those whose first error is found; solutions
    without, those found to be so.
    """
    found = first_wrong(scores, threshold)
    return np.array(
        [1, found == solution.wrong[0], 0, 0] if solution.wrong else [0, 0, 1, found == -1],
        dtype=np.float64,
    )


def processbench_f1(counts: np.ndarray) -> float:
    """Return the harmonic mean of the accuracy on solutions with an error and on those without;

    NaN where one kind is missing.
    """
    if not counts[0] or not counts[2]:
        return float("nan")
    on_errors, on_correct = counts[1] / counts[0], counts[3] / counts[2]
    return (
        float(2 * on_errors * on_correct / (on_errors + on_correct))
        if on_errors + on_correct
        else 0.0
    )


def prmbench_counts(
    solution: LabelledSolution, scores: Sequence[float], threshold: float
) -> np.ndarray:
    """Return counts of steps [4]: right ones found right, wrong found right, wrong found wrong,
    right found wrong.
    """
    counts = np.zeros(4)
    for position, score in enumerate(scores):
        if position in solution.unknown:
            continue
        wrong, found_wrong = position in solution.wrong, score <= threshold
        counts[(2 if wrong else 3) if found_wrong else (1 if wrong else 0)] += 1
    return counts


def prm_score(counts: np.ndarray, *, category: str | None) -> float:
    """Return half the F1 of right steps and half that of wrong ones; of `multi_solutions` the first
    alone. NaN without such steps.
    """
    true_right, false_right, true_wrong, false_wrong = counts
    right = _f1(true_right, false_right + false_wrong)
    return (
        right
        if category == ALL_CORRECT
        else 0.5 * right + 0.5 * _f1(true_wrong, false_right + false_wrong)
    )


def _f1(hits: float, misses: float) -> float:
    return float(2 * hits / (2 * hits + misses)) if hits or misses else float("nan")
