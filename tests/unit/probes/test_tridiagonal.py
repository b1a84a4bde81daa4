"""Shifted systems from one tridiagonal form against numpy's own solver."""

import numpy as np
import pytest

from rewardscope.probes.tridiagonal import tridiagonalise


@pytest.mark.parametrize("width", [1, 2, 3, 40])
def test_shifted_systems_and_end_eigenvalues_are_those_of_numpy(width: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.normal(size=(2 * width, width)) * np.logspace(0, -3, width)
    matrix, right, shifts = (
        rows.T @ rows,
        rng.normal(size=(width, 2)),
        np.array([[1e-6, 1.0, 1e4], [0.5, 2.0, 10.0]]),
    )
    reduced = tridiagonalise(matrix)
    np.testing.assert_allclose(reduced.ends(), np.linalg.eigvalsh(matrix)[[0, -1]], rtol=1e-8)
    solved = reduced.solve(right, shifts)
    for y, r in np.ndindex(*shifts.shape):
        expected = np.linalg.solve(matrix + shifts[y, r] * np.eye(width), right[:, y])
        np.testing.assert_allclose(solved[:, y, r], expected, rtol=1e-8, atol=1e-12)
