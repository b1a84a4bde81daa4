"""Many shares on the same problems at once, each with Wilson's interval at the number of trials
that would vary as much: what `intervals.bounded` does for one, in columns.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rewardscope.statistics.draws import Array

# Shape legend: U units of problems, K shares.
_NO_SPREAD = 1e-9  # standard errors below it are rounding


class Shares(NamedTuple):
    """Shares with their intervals; NaN where there is none."""

    value_K: Array
    low_K: Array
    high_K: Array


def shares_of_sums(part_UK: NDArray, whole_UK: NDArray, *, min_units: int) -> Shares:
    """Return the ratios of two sums over units, `part_UK` within `whole_UK`, with 95 % intervals.

    Where nothing varies each unit that has any of the whole counts as one trial. No bounds where
    fewer than `min_units` units have any. Sources: Wilson 1927; Korn and Graubard 1998.
    """
    part_UK, whole_UK = part_UK.astype(np.float64), whole_UK.astype(np.float64)
    part_K, whole_K = part_UK.sum(axis=0), whole_UK.sum(axis=0)
    n_K = (whole_UK > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value_K = np.clip(part_K / whole_K, 0.0, 1.0)
        # each unit's pull on the ratio, linearised; those without any of the whole have none
        pull_UK = (part_UK - value_K * whole_UK) / whole_K
        error_K = np.sqrt((pull_UK**2).sum(axis=0) * n_K / (n_K - 1))
        varies_K = error_K > _NO_SPREAD
        trials_K = np.where(varies_K, value_K * (1 - value_K) / error_K**2, n_K)
        low_K, high_K = score_ends(value_K, trials_K, stdtrit(n_K - 1, 0.975))
        inside_K = (value_K > 0) & (value_K < 1)
    known_K = (n_K >= max(2, min_units)) & (varies_K | ~inside_K)
    low_K, high_K = (np.where(known_K, ends_K, np.nan) for ends_K in (low_K, high_K))
    return Shares(value_K, np.minimum(low_K, value_K), np.maximum(high_K, value_K))


def score_ends(share_K: Array, n_K: NDArray, z_K: Array) -> tuple[Array, Array]:
    """Return the ends of Wilson's score interval of shares of `n_K` trials, `z_K` standard errors
    wide.
    """
    shrunk_K = 1 + z_K**2 / n_K
    centre_K = (share_K + z_K**2 / (2 * n_K)) / shrunk_K
    half_K = z_K / shrunk_K * np.sqrt(share_K * (1 - share_K) / n_K + z_K**2 / (4 * n_K**2))
    # at 0 and at 1 the interval ends exactly there
    low_K = np.where(share_K == 0, 0.0, centre_K - half_K)
    high_K = np.where(share_K == 1, 1.0, centre_K + half_K)
    return low_K, high_K
