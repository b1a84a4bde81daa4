"""Solve `(A + shift I) x = b` for many shifts from one reduction of A: a third of the time of an
eigendecomposition.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal, get_lapack_funcs

# Shape legend: D rows of the matrix, Y right sides, R shifts of each.
Array = NDArray[np.float64]
_COLUMNS = 32  # that LAPACK takes at once
_reduce, _reflect, _solve = get_lapack_funcs(("sytrd", "ormqr", "ptsv"), dtype=np.float64)


class Tridiagonal(NamedTuple):
    """A symmetric matrix as Q T Q':

    T by its diagonal and the one beside it, Q by its reflectors, which leave the first row alone.
    """

    diagonal_D: Array
    beside: Array  # [D - 1]
    reflectors_DD: Array
    factors: Array  # [D - 1]

    def ends(self) -> tuple[float, float]:
        """Return the least and the largest eigenvalue."""
        places = (0, len(self.diagonal_D) - 1)
        low, high = (
            eigvalsh_tridiagonal(self.diagonal_D, self.beside, select="i", select_range=(at, at))
            for at in places
        )
        return float(low[0]), float(high[0])

    def solve(self, right_DY: Array, shifts_YR: Array) -> Array:
        """Return x [D, Y, R] for each right side with each of its shifts, above which the matrix
        must be positive definite.
        """
        rotated_DY, beside = (
            self._rotate(right_DY, "T"),
            (self.beside if len(self.beside) else np.zeros(1)),
        )
        solved_DYR = np.empty((len(right_DY), *shifts_YR.shape))
        for y, r in np.ndindex(*shifts_YR.shape):
            *_, solved_DYR[:, y, r], info = _solve(
                self.diagonal_D + shifts_YR[y, r], beside, rotated_DY[:, y]
            )
            assert info == 0, info
        return self._rotate(solved_DYR.reshape(len(right_DY), -1), "N").reshape(solved_DYR.shape)

    def _rotate(self, columns_DK: Array, how: str) -> Array:
        """Return Q' (T) or Q (N) times columns."""
        if len(columns_DK) == 1:
            return columns_DK
        work = _COLUMNS * columns_DK.shape[1]
        below, _, info = _reflect(
            "L", how, self.reflectors_DD[1:, :-1], self.factors, columns_DK[1:], work
        )
        assert info == 0, info
        return np.concatenate([columns_DK[:1], below])


def tridiagonalise(matrix_DD: Array) -> Tridiagonal:
    """Bring a symmetric matrix to tridiagonal form."""
    reflectors_DD, diagonal_D, beside, factors, info = _reduce(
        matrix_DD, lower=1, lwork=_COLUMNS * len(matrix_DD)
    )
    assert info == 0, info
    return Tridiagonal(diagonal_D, beside, reflectors_DD, factors)
