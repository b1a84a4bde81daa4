"""Matched controls: which rows of two data sets are compared with which, as weights of rows.

Rows fall into strata; a stratum that one side lacks drops out. With n1 and n2 rows of the two sides
a stratum weighs n1 n2 / (n1 + n2), so that the difference of weighted rates is the risk difference
of Mantel and Haenszel (Greenland and Robins 1985), and each row of a side weighs the same within
its stratum.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from rewardscope.features.diff_table import CONTROLS
from rewardscope.features.row_codes import LENGTHS, PLACES, PairRows, RowCodes

# Shape legend: N rows, P problems of both sides together, R raw strata, S strata that both sides
# have. A stack of both sides [2P] has the first side's problems first.
NONE: str = "none"
_POSITIONS = PLACES * LENGTHS


class Control(NamedTuple):
    """A way to match rows: the raw stratum of each row, below `n_raw`, or -1 for rows left out.

    `pooled`: rows of raw strata that both sides have make one stratum.
    """

    name: str
    n_raw: int
    raw: Callable[[RowCodes], np.ndarray]
    pooled: bool = False


class Matching(NamedTuple):
    """A control on given sides: `place_R` is the stratum of each raw one, -1 where a side lacks it.

    weight_2S: of a row; a side's rows weigh 1 together. share_2PS: weight of each problem's rows by
    stratum. kept: share of a side's rows that are compared.
    """

    control: Control
    place_R: np.ndarray
    n_2S: np.ndarray
    weight_2S: np.ndarray
    share_2PS: tuple[sparse.csr_matrix, sparse.csr_matrix]
    kept: tuple[float, float]

    @property
    def n_strata(self) -> int:
        return self.n_2S.shape[1]

    @property
    def n_problems(self) -> tuple[int, int]:
        """Problems of each side with rows that are compared."""
        first, second = (int((np.diff(share_PS.indptr) > 0).sum()) for share_PS in self.share_2PS)
        return first, second

    def places(self, codes: RowCodes) -> np.ndarray:
        """Return the stratum of each row, -1 for rows left out."""
        raw_N = self.control.raw(codes)
        return np.where(raw_N >= 0, self.place_R[raw_N], -1)


def all_controls(pair: PairRows) -> list[Control]:
    """Return the comparison of all rows and every control, in the order of CONTROLS."""
    n_tokens = len(pair.tokens)

    def together(codes: RowCodes) -> np.ndarray:
        inside_N = codes.solved >= 0 if pair.knows_grades else np.ones(len(codes.token), dtype=bool)
        return np.where(inside_N, codes.token.astype(np.int64) * _POSITIONS + codes.position, -1)

    made = {
        "token": Control("token", n_tokens, lambda codes: codes.token),
        "category": Control("category", 256, lambda codes: codes.category),
        "position": Control("position", _POSITIONS, lambda codes: codes.position),
        "solved": Control("solved", 1, lambda codes: codes.solved),
        "shared": Control("shared", n_tokens, lambda codes: codes.token, pooled=True),
        "all": Control("all", n_tokens * _POSITIONS, together),
    }
    nothing = Control(NONE, 1, lambda codes: np.zeros(len(codes.token), dtype=np.int64))
    return [nothing, *(made[name] for name in CONTROLS)]


def count_rows(pair: PairRows, controls: list[Control]) -> list[sparse.csr_matrix]:
    """Count the rows of each side and problem by raw stratum, [2P, R] for each control."""
    n_problems = len(pair.problems)
    counts = [sparse.csr_matrix((2 * n_problems, c.n_raw), dtype=np.float64) for c in controls]
    for side in (0, 1):
        reader = pair.reader(side)
        for n_rows in pair.pieces(side):
            codes = reader.take(n_rows)
            row_N = pair.problem_T[codes.trace] + side * n_problems
            for number, control in enumerate(controls):
                raw_N = control.raw(codes)
                here = np.flatnonzero(raw_N >= 0)
                ones = (np.ones(len(here)), (row_N[here], raw_N[here]))
                counts[number] = counts[number] + sparse.csr_matrix(ones, counts[number].shape)
    return counts


def rows_of(pair: PairRows) -> np.ndarray:
    """Return the rows of each side and problem, [2, P]."""
    at_T = pair.side_T * len(pair.problems) + pair.problem_T
    rows_Q = np.bincount(at_T, weights=pair.rows_T, minlength=2 * len(pair.problems))
    return rows_Q.reshape(2, -1)


def as_given(pair: PairRows) -> np.ndarray:
    """Return the sides [2, P] that problems count for where each side is what it is."""
    return np.repeat([[0], [1]], len(pair.problems), axis=1)


def match(
    control: Control, count_QR: sparse.csr_matrix, rows_2P: np.ndarray, side_2P: np.ndarray
) -> Matching:
    """Match rows, `count_QR` by problem and raw stratum. `side_2P` says which side the rows of a
    problem count for, by the side that they are of: both sides stay, or they are swapped.
    """
    n_problems = side_2P.shape[1]
    order_2P = np.arange(2 * n_problems).reshape(2, n_problems)
    order_Q = np.where(side_2P[0] == 0, order_2P, order_2P[::-1]).reshape(-1)
    n_rows_2 = rows_2P.reshape(-1)[order_Q].reshape(2, -1).sum(axis=1)
    count_QR = count_QR[order_Q]
    halves: list[Any] = [count_QR[:n_problems], count_QR[n_problems:]]
    count_2R = np.stack([np.asarray(half.sum(axis=0)).reshape(-1) for half in halves])
    used = np.flatnonzero((count_2R > 0).all(axis=0))
    place_R = np.full(control.n_raw, -1, dtype=np.int64)
    place_R[used] = 0 if control.pooled else np.arange(len(used))
    halves, n_2S = [half[:, used] for half in halves], count_2R[:, used]
    if control.pooled or not len(used):
        halves = [sparse.csr_matrix(half.sum(axis=1)) for half in halves]
        n_2S = n_2S.sum(axis=1, keepdims=True)
    worth_S = n_2S[0] * n_2S[1] / np.maximum(n_2S.sum(axis=0), 1)
    weight_2S = worth_S / (np.maximum(n_2S, 1) * max(float(worth_S.sum()), 1e-300))
    first, second = (
        sparse.csr_matrix(half @ sparse.diags(weight_S))
        for half, weight_S in zip(halves, weight_2S, strict=True)
    )
    kept = n_2S.sum(axis=1) / np.maximum(n_rows_2, 1)
    return Matching(
        control, place_R, n_2S, weight_2S, (first, second), (float(kept[0]), float(kept[1]))
    )
