"""Resamples of problems: one table of weights that every quantity over the same problems shares."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Shape legend: N rows, P problems, U units (problems, or groups of them), R resamples.
Array = NDArray[np.float64]
N_RESAMPLES = 1000
MAX_UNITS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """How often each unit is in each resample, and the unit of each row.

    A unit is a problem. Beyond `MAX_UNITS` problems it is a group of them, which bounds what an
    interval costs and changes little: the spread is then known from 499 degrees of freedom.
    """

    weight_RU: Array
    unit_N: NDArray[np.int64]
    problem_N: NDArray[np.int64]
    n_problems: int
    seed: int

    @property
    def n_units(self) -> int:
        return self.weight_RU.shape[1]

    def sums(self, *value_N: NDArray) -> Array:
        """Return the sums [U, K] over the rows of each unit of K columns."""
        return np.stack(
            [
                np.bincount(self.unit_N, weights=value, minlength=self.n_units).astype(np.float64)
                for value in value_N
            ],
            axis=1,
        )

    def among(self, inside_N: NDArray[np.bool_]) -> "Draws":
        """Return draws of the problems that have some of the chosen rows, for these rows."""
        if inside_N.all():
            return self
        return draw(self.problem_N[inside_N], seed=self.seed, n_resamples=len(self.weight_RU))


def draw(
    problem_N: NDArray, *, seed: int, n_resamples: int = N_RESAMPLES, max_units: int = MAX_UNITS
) -> Draws:
    """Draw resamples of the problems that rows belong to.

    The same problems and seed give the same weights, whatever the rows hold. At least one row.
    Fewer units cost less.
    """
    problems, dense_N = np.unique(problem_N, return_inverse=True)
    assert len(problems), "no rows"
    n_units = min(len(problems), max_units)
    return Draws(
        weight_RU=_weights(n_units, seed, n_resamples),
        unit_N=dense_N % n_units,
        problem_N=dense_N,
        n_problems=len(problems),
        seed=seed,
    )


@lru_cache(maxsize=32)
def _weights(n_units: int, seed: int, n_resamples: int) -> Array:
    """Return whole-number weights [R, U], each row summing to U."""
    chance_U = np.full(n_units, 1 / n_units)
    drawn_RU = np.random.default_rng(seed).multinomial(n_units, chance_U, size=n_resamples)
    weight_RU = drawn_RU.astype(np.float64)
    weight_RU.setflags(write=False)  # it is shared by all who ask for the same draws
    return weight_RU
