"""How well the mean activation of a feature tells traces of two data sets apart, for many features
at once.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit
from scipy.stats import rankdata

from rewardscope.statistics.intervals import MIN_CLASS, MIN_PROBLEMS
from rewardscope.statistics.shares import score_ends

# Shape legend: T traces, P problems, F features.


class Aurocs(NamedTuple):
    """Each [F], the ends NaN where too few problems say anything."""

    value_F: np.ndarray
    low_F: np.ndarray
    high_F: np.ndarray


def trace_aurocs(mean_TF: np.ndarray, first_T: np.ndarray, problem_T: np.ndarray) -> Aurocs:
    """Return the chance that a trace of the first side has more of a feature than one of the
    second, ties counted half, with its 95 % interval over problems.

    The interval is Wilson's at the number of independent traces that would vary as much, the
    variance that of traces clustered by problem. Sources: Obuchowski 1997; Korn and Graubard 1998.
    """
    sides = [np.flatnonzero(first_T), np.flatnonzero(~first_T)]
    n_first, n_second = map(len, sides)
    nothing_F = np.full(mean_TF.shape[1], np.nan)
    if not (n_first and n_second):
        return Aurocs(nothing_F, nothing_F, nothing_F)
    rank_TF = rankdata(mean_TF, axis=0)
    won_TF = np.empty_like(rank_TF)  # share of the other side that a trace is above
    for own, n_other in zip(sides, (n_second, n_first), strict=True):
        won_TF[own] = (rank_TF[own] - rankdata(mean_TF[own], axis=0)) / n_other
    value_F = won_TF[sides[0]].mean(axis=0)
    counts = [len(np.unique(problem_T[own])) for own in sides]
    n_smaller = min(counts)
    if n_smaller < max(MIN_CLASS, MIN_PROBLEMS):
        return Aurocs(value_F, nothing_F, nothing_F)
    pull_PF = np.zeros((int(problem_T.max()) + 1, mean_TF.shape[1]))
    np.add.at(pull_PF, problem_T[sides[0]], (won_TF[sides[0]] - value_F) / n_first)
    np.add.at(pull_PF, problem_T[sides[1]], (1 - won_TF[sides[1]] - value_F) / n_second)
    variance_F = (pull_PF**2).sum(axis=0) * n_smaller / (n_smaller - 1)
    alike_F = value_F * (1 - value_F)
    # Where all pairs are in order, the problems of the smaller side count once each.
    effective_F = np.divide(
        alike_F,
        variance_F,
        out=np.full_like(value_F, float(n_smaller)),
        where=(variance_F > 1e-18) & (alike_F > 0),
    )
    return Aurocs(value_F, *score_ends(value_F, effective_F, stdtrit(n_smaller - 1, 0.975)))
