"""The metrics of ProcessBench and PRMBench over categories and dimensions, with intervals over
questions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rewardscope.problems.prm_benchmark_metrics import (
    DIMENSIONS,
    ScoredSolution,
    prm_score,
    prmbench_counts,
    processbench_counts,
    processbench_f1,
)
from rewardscope.records import Estimate
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import UNIT, interval, wilson
from rewardscope.statistics.measures import of_sums

# Shape legend: G questions, C categories, K counts, U units of questions.


def report(scored: Sequence[ScoredSolution], *, threshold: float, seed: int) -> dict[str, Any]:
    """Return the metrics of both benchmarks, each with n and a 95 % interval over problems (an
    Estimate).
    """
    found: dict[str, Any] = {}
    for benchmark, of_benchmark in (("processbench", _processbench), ("prmbench", _prmbench)):
        mine = [pair for pair in scored if pair[0].benchmark == benchmark]
        if mine:
            found[benchmark] = of_benchmark(mine, threshold, seed)
    return found


def _processbench(scored: Sequence[ScoredSolution], threshold: float, seed: int) -> dict[str, Any]:
    names, counts_GCK = counts_by_question(
        scored, [processbench_counts(solution, scores, threshold) for solution, scores in scored]
    )
    subsets = {}
    for index, name in enumerate(names):
        counts_GK = _of_category(counts_GCK, index)
        n_errors, found, n_correct, kept = counts_GK.sum(axis=0).astype(int).tolist()
        subsets[name] = {
            "f1": _estimate(counts_GK, processbench_f1, seed),
            "error_accuracy": wilson(found, n_errors) if n_errors else None,
            "correct_accuracy": wilson(kept, n_correct) if n_correct else None,
        }
    average = _estimate(
        counts_GCK,
        lambda totals_CK: float(np.mean([processbench_f1(row) for row in totals_CK])),
        seed,
    )
    return {"subsets": subsets, "average_f1": average}


def _prmbench(scored: Sequence[ScoredSolution], threshold: float, seed: int) -> dict[str, Any]:
    names, counts_GCK = counts_by_question(
        scored, [prmbench_counts(solution, scores, threshold) for solution, scores in scored]
    )

    def of_dimension(totals_CK: np.ndarray, categories: Sequence[str]) -> float:
        return float(
            np.mean([prm_score(totals_CK[names.index(name)], category=name) for name in categories])
        )

    return {
        "prm_score": _estimate(
            counts_GCK, lambda totals_CK: prm_score(totals_CK.sum(axis=0), category=None), seed
        ),
        "categories": {
            name: _estimate(
                _of_category(counts_GCK, index),
                lambda totals_K, name=name: prm_score(totals_K, category=name),
                seed,
            )
            for index, name in enumerate(names)
        },
        "dimensions": {
            dimension: _estimate(
                counts_GCK,
                lambda totals_CK, categories=categories: of_dimension(totals_CK, categories),
                seed,
            )
            for dimension, categories in DIMENSIONS.items()
            if set(categories) <= set(names)
        },
    }


def counts_by_question(
    scored: Sequence[ScoredSolution], counts: Sequence[np.ndarray]
) -> tuple[list[str], np.ndarray]:
    """Return the categories, and the counts [problems, categories, 4]: the solutions of one
    question belong together.
    """
    names = list(dict.fromkeys(solution.category for solution, _ in scored))
    questions = {
        question: index
        for index, question in enumerate(dict.fromkeys(solution.question for solution, _ in scored))
    }
    counts_GCK = np.zeros((len(questions), len(names), 4))
    for (solution, _), mine in zip(scored, counts, strict=True):
        counts_GCK[questions[solution.question], names.index(solution.category)] += mine
    return names, counts_GCK


def _of_category(counts_GCK: np.ndarray, index: int) -> np.ndarray:
    counts_GK = counts_GCK[:, index]
    return counts_GK[counts_GK.sum(axis=1) > 0]


def _estimate(
    counts: np.ndarray, function: Callable[[np.ndarray], float], seed: int
) -> Estimate | None:
    """Return a function of total counts, from counts [G, ...] by question, with its interval; None
    where it is undefined, as without any wrong step.
    """
    draws = draw(np.arange(len(counts)), seed=seed)
    sums_UK = draws.sums(*counts.reshape(len(counts), -1).T)

    def of_totals(totals: np.ndarray) -> np.ndarray:
        return np.array([function(total.reshape(counts.shape[1:])) for total in totals])

    measured = of_sums(of_totals, sums_UK, draws)
    return interval(measured, draws, scale=UNIT) if np.isfinite(measured.value) else None
