"""Sums over rows, fold by fold, in one pass: all that ridge regression, standardisation and
cross-validation need.

A row counts as the vector of its features, its targets and a 1, so that one symmetric product holds
every sum. Memory is a few matrices of that width, whatever the number of rows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.errors import BadRecord

# Shape legend: N rows, D features, Y targets, E = D + Y + 1, F folds.
Array = NDArray[np.float64]
NOT_FINITE = "some states are NaN or infinite; re-run invoke save-acts with --dtype float32"
_BLOCK = 1024  # rows of one product; smaller ones cost more in adding up than in multiplying


class Sums(NamedTuple):
    """Sums over a set of rows of products of (features, targets, 1), features and targets less
    `shift`.
    """

    product_EE: Array
    shift_E: Array
    n_targets: int

    @property
    def n(self) -> int:
        return round(float(self.product_EE[-1, -1]))

    @property
    def width(self) -> int:
        return len(self.product_EE) - self.n_targets - 1

    def projected(self, basis_DK: Array) -> "Sums":
        """Return the sums that the features `(x - shift) @ basis` would have given; no row is read
        again.
        """
        D, E = self.width, len(self.product_EE)
        mix = np.zeros((E, basis_DK.shape[1] + E - D))
        mix[:D, : basis_DK.shape[1]] = basis_DK
        mix[D:, basis_DK.shape[1] :] = np.eye(E - D)
        shift_E = np.concatenate([np.zeros(basis_DK.shape[1]), self.shift_E[D:]])
        return Sums(mix.T @ self.product_EE @ mix, shift_E, self.n_targets)


class Moments:
    """The sums of each fold, added up in float64.

    Columns are shifted by the mean of the first rows: residual streams have columns whose mean is
    far larger than their spread, and unshifted sums would lose that spread to rounding.
    """

    def __init__(self, *, folds: int) -> None:
        self._folds = folds
        self._filled = [0] * folds
        self._n_targets = 0
        self._shift_E = np.zeros(0)
        self._product_FEE = self._waiting_FNE = np.zeros((0, 0, 0))

    def add(self, features_ND: NDArray, targets_NY: Array, fold_N: NDArray) -> None:
        """Add rows; those of a fold below 0 are left out."""
        taken_N = fold_N >= 0
        if not taken_N.any():
            return
        if not len(self._shift_E):
            self._start(features_ND[taken_N], targets_NY[taken_N])
        D = features_ND.shape[1]
        for fold in range(self._folds):
            rows = np.flatnonzero(fold_N == fold)
            while len(rows):
                start = self._filled[fold]
                part, rows = rows[: _BLOCK - start], rows[_BLOCK - start :]
                place = self._waiting_FNE[fold, start : start + len(part)]
                np.subtract(features_ND[part], self._shift_E[:D], out=place[:, :D])
                np.subtract(targets_NY[part], self._shift_E[D:], out=place[:, D:-1])
                self._filled[fold] = start + len(part)
                if self._filled[fold] == _BLOCK:
                    self._multiply(fold)

    def folds(self) -> list[Sums]:
        """Return the sums of each fold. Raises: BadRecord where a state is not finite."""
        assert len(self._shift_E), "no training rows"
        for fold in range(self._folds):
            self._multiply(fold)
        if not np.isfinite(self._product_FEE[:, -1]).all():
            raise BadRecord(NOT_FINITE)
        return [
            Sums(product_EE, self._shift_E, self._n_targets)
            for product_EE in list(self._product_FEE)
        ]

    def _start(self, features_ND: NDArray, targets_NY: Array) -> None:
        means = [block.mean(axis=0, dtype=np.float64) for block in (features_ND, targets_NY)]
        self._shift_E, self._n_targets = np.concatenate(means), targets_NY.shape[1]
        E = len(self._shift_E) + 1
        self._product_FEE = np.zeros((self._folds, E, E))
        self._waiting_FNE = np.ones((self._folds, _BLOCK, E))

    def _multiply(self, fold: int) -> None:
        block_NE = self._waiting_FNE[fold, : self._filled[fold]]
        # numpy sees that both are one array and computes half of it
        self._product_FEE[fold] += block_NE.T @ block_NE
        self._filled[fold] = 0


def total(sums: list[Sums]) -> Sums:
    """Return the sums over all rows of all folds."""
    product_EE = sums[0].product_EE.copy()
    for other in sums[1:]:
        product_EE += other.product_EE
    return sums[0]._replace(product_EE=product_EE)


def without(whole: Sums, fold: Sums) -> Sums:
    """Return the sums over the rows that are not in a fold."""
    return whole._replace(product_EE=whole.product_EE - fold.product_EE)
