"""What the benchmark of SAEs shares: rows with yes-or-no concepts, a linear probe of them, what a
measure found, and which features go with a concept.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.sae.model.sparse_codes import Csr
from rewardscope.statistics.draws import Array, Draws
from rewardscope.statistics.measures import Measured

# Shape legend: N rows, D width, F features, M training rows, T held-out rows.
Bools = NDArray[np.bool_]


class Probe(NamedTuple):
    """A linear probe: a row is taken for positive where `row @ slope + intercept` is above 0."""

    slope_D: Array
    intercept: float

    def score(self, rows_ND: NDArray) -> Array:
        """Return the log odds [N]."""
        return np.asarray(rows_ND, dtype=np.float64) @ self.slope_D + self.intercept


Fit = Callable[[NDArray, Bools, NDArray], Probe]
"""Fits a probe to features [M, D], classes [M] and the folds [M] of their problems."""


class BenchRows(NamedTuple):
    """Step ends of one layer with what is known of each."""

    states_ND: NDArray
    fold_N: NDArray[np.int8]
    """Of a row of a training problem, else -1."""
    concepts: Mapping[str, Bools]
    """Of each row [N] whether the concept holds; the first is the correctness of steps."""
    draws: Draws
    """Of the problems of the held-out rows."""

    @property
    def train_N(self) -> Bools:
        return self.fold_N >= 0

    def fit(self, fit: Fit, concept: str, inside_N: Bools | None = None) -> Probe:
        """Fit a probe of a concept to the states of training rows, or of some of them."""
        chosen_N = self.train_N if inside_N is None else inside_N
        return fit(
            self.states_ND[chosen_N], self.concepts[concept][chosen_N], self.fold_N[chosen_N]
        )


class Found(NamedTuple):
    """One number of an SAE, and the same of what it must beat."""

    measure: str
    setting: str
    measured: Measured
    control: Measured


def mean_difference(codes_NF: Csr, positive_N: Bools) -> Array:
    """Return how far the mean activation [F] on positive rows is above that on the others."""
    sides = (np.asarray(codes_NF[side].mean(axis=0)).ravel() for side in (positive_N, ~positive_N))
    first, second = sides
    return first - second


def strongest(score_F: Array, k: int) -> NDArray[np.int64]:
    """Return the (at most) k features with the largest absolute score, none of a score of 0."""
    order = np.argsort(-np.abs(score_F), kind="stable")[:k]
    return order[score_F[order] != 0]
