"""The AUROC among rows of the same stratum, so that what tells strata apart counts for nothing."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from rewardscope.statistics.draws import Array, Draws
from rewardscope.statistics.measures import Measured, auroc_measure


def stratified_auroc_measure(
    positive_N: NDArray, score_N: Array, stratum_N: NDArray, draws: Draws
) -> Measured:
    """Return the chance that a positive row scores above a negative one of its stratum, over all
    such pairs, ties counted half; NaN where no stratum has both classes.

    Source: van Elteren 1960, with each pair counted once.
    """
    positive_N = positive_N > 0.5
    won, pairs = 0.0, 0
    won_U, pairs_U = np.zeros(draws.n_units), np.zeros(draws.n_units)
    for stratum in np.unique(stratum_N):
        inside = stratum_N == stratum
        mine = positive_N[inside]
        n_positive, n_negative = int(mine.sum()), int((~mine).sum())
        if not n_positive or not n_negative:
            continue
        # The units stay those of all strata, so that one left out is left out of each.
        part = dataclasses.replace(
            draws, unit_N=draws.unit_N[inside], problem_N=draws.problem_N[inside]
        )
        found = auroc_measure(mine, score_N[inside], part)
        positive_U, negative_U = part.sums(mine, ~mine).T
        its_pairs_U = (n_positive - positive_U) * (n_negative - negative_U)
        won, pairs = won + found.value * n_positive * n_negative, pairs + n_positive * n_negative
        won_U += np.nan_to_num(found.without_U) * its_pairs_U
        pairs_U += its_pairs_U
    with np.errstate(invalid="ignore", divide="ignore"):
        without_U = won_U / pairs_U
    value = won / pairs if pairs else math.nan
    return Measured(value=value, without_U=without_U, n=draws.n_problems)
