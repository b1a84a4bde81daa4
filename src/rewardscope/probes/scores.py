"""How well predictions follow a target: r2, correlations, AUROC, with intervals over problems."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.records import Estimate
from rewardscope.statistics import bootstrap

# Shape legend: N rows, P problems.
Array = NDArray[np.float64]


class Scores(NamedTuple):
    """Metrics on held-out rows. `headline` is r2, or AUROC for a target of two classes, with its interval over problems."""

    r2: float
    pearson: float
    spearman: float
    auroc: float | None
    headline: Estimate


def r2(target_N: Array, predicted_N: Array) -> float:
    """Return the share of variance explained, 1 at best; below 0 is worse than the mean. The target must vary."""
    residual = float(np.sum((target_N - predicted_N) ** 2))
    return 1 - residual / float(np.sum((target_N - target_N.mean()) ** 2))


def pearson(a_N: Array, b_N: Array) -> float:
    """Return the linear correlation, -1 to 1; 0 where one side is constant."""
    if np.ptp(a_N) == 0 or np.ptp(b_N) == 0:
        return 0.0
    a_N, b_N = a_N - a_N.mean(), b_N - b_N.mean()
    return float(np.sum(a_N * b_N) / np.sqrt(np.sum(a_N**2) * np.sum(b_N**2)))


def ranks(values_N: Array) -> Array:
    """Return ranks from 1; equal values share their mean rank."""
    _, level_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[level_N]


def spearman(a_N: Array, b_N: Array) -> float:
    """Return the rank correlation, -1 to 1; 0 where one side is constant."""
    return pearson(ranks(a_N), ranks(b_N))


def auroc(score_N: Array, positive_N: NDArray) -> float:
    """Return the chance that a positive row (1 or True) scores above a negative one, ties counted half.

    NaN where a class is missing. Source: Mann and Whitney 1947, by ranks.
    """
    positive_N = positive_N > 0.5
    n_positive = int(positive_N.sum())
    pairs = n_positive * (len(positive_N) - n_positive)
    return (float(ranks(score_N)[positive_N].sum()) - n_positive * (n_positive + 1) / 2) / pairs if pairs else math.nan


def score(target_N: Array, predicted_N: Array, problem_N: NDArray[np.int64], *, classes: bool, seed: int) -> Scores:
    """Compare predictions with a target on rows that belong to problems; `classes` says that the target is 0 or 1."""
    return Scores(
        r2=r2(target_N, predicted_N),
        pearson=pearson(target_N, predicted_N),
        spearman=spearman(target_N, predicted_N),
        auroc=auroc(predicted_N, target_N) if classes else None,
        headline=(
            auroc_interval(predicted_N, target_N, problem_N, seed=seed)
            if classes
            else r2_interval(target_N, predicted_N, problem_N, seed=seed)
        ),
    )


def r2_interval(target_N: Array, predicted_N: Array, problem_N: NDArray[np.int64], *, seed: int) -> Estimate:
    """Return r2 with its bootstrap interval over problems, from four sums a problem, so that a resample costs O(P)."""
    centred_N = target_N - target_N.mean()  # r2 does not change, and the sums lose less to rounding
    residual_N = target_N - predicted_N
    _, problem_N = np.unique(problem_N, return_inverse=True)
    sums_P4 = np.stack(
        [np.bincount(problem_N, weights=v) for v in (np.ones_like(centred_N), centred_N, centred_N**2, residual_N**2)], axis=1
    )

    def statistic(drawn_P4: Array) -> float:
        n, total, squares, residual = drawn_P4.sum(axis=0)
        spread = squares - total**2 / n
        return 1 - residual / spread if spread > 1e-12 * squares else math.nan

    return bootstrap(sums_P4, statistic, seed=seed)


def auroc_interval(score_N: Array, positive_N: NDArray, problem_N: NDArray[np.int64], *, seed: int) -> Estimate:
    """Return AUROC with its bootstrap interval over problems; rows are sorted once, so that a resample costs O(N)."""
    order = np.argsort(score_N)
    score_N, positive_N = score_N[order], positive_N[order] > 0.5
    problems, problem_N = np.unique(problem_N[order], return_inverse=True)
    # The rows that tie with each positive row are those from `first` to before `after`.
    first_pos = np.searchsorted(score_N, score_N[positive_N], side="left")
    after_pos = np.searchsorted(score_N, score_N[positive_N], side="right")
    problem_pos, negative_N = problem_N[positive_N], ~positive_N
    negatives_before = np.zeros(len(score_N) + 1)

    def statistic(drawn_P: NDArray[np.int64]) -> float:
        times_P = np.bincount(drawn_P, minlength=len(problems)).astype(np.float64)
        np.cumsum(times_P[problem_N] * negative_N, out=negatives_before[1:])
        times_pos = times_P[problem_pos]
        below = times_pos @ (negatives_before[first_pos] + negatives_before[after_pos]) / 2
        pairs = times_pos.sum() * negatives_before[-1]
        return float(below / pairs) if pairs > 0 else math.nan

    return bootstrap(np.arange(len(problems)), statistic, seed=seed)
