"""How far probabilities are from what happens: the calibration error, by bins of equal width."""

import math

import numpy as np
from numpy.typing import NDArray

from rewardscope.records import Estimate
from rewardscope.statistics.draws import Array, Draws
from rewardscope.statistics.intervals import UNIT, interval
from rewardscope.statistics.measures import of_sums

# Shape legend: N rows, U units, B bins.
N_BINS = 10
_NOISE = 0.95  # the quantile of pure noise above which an error counts as one


def bin_of(chance_N: Array) -> NDArray[np.int64]:
    """Return the bin of each probability among N_BINS of equal width; 1 is in the last."""
    return np.clip((chance_N * N_BINS).astype(np.int64), 0, N_BINS - 1)


def ece(chance_N: Array, positive_N: NDArray) -> float:
    """Return the expected calibration error, 0 to 1: by bins, how far the mean probability is from
    the share of positives.

    Source: Naeini, Cooper and Hauskrecht 2015, bins of equal width.
    """
    gap_B = np.bincount(bin_of(chance_N), weights=chance_N - positive_N, minlength=N_BINS)
    return float(np.abs(gap_B).sum() / len(chance_N))


def calibration_error(chance_N: Array, positive_N: NDArray, draws: Draws) -> Estimate:
    """Return the expected calibration error with its interval.

    Noise alone makes an error, so honest probabilities have one above 0 too: where the error is no
    larger than that, the interval begins at 0.
    """
    gap_N, bin_N = chance_N - positive_N, bin_of(chance_N)
    columns = [gap_N * (bin_N == number) for number in range(N_BINS)]
    sums = draws.sums(np.ones(len(chance_N)), *columns)
    measured = of_sums(lambda s: np.abs(s[..., 1:]).sum(axis=-1) / s[..., 0], sums, draws)
    found = interval(measured, draws, scale=UNIT)
    drawn_gap_RB = draws.weight_RU @ sums[:, 1:] - sums[:, 1:].sum(axis=0)
    # Resamples vary less than fresh problems would, as a variance over n does.
    drawn_gap_RB *= math.sqrt(draws.n_units / max(1, draws.n_units - 1))
    noise = np.quantile(np.abs(drawn_gap_RB).sum(axis=1) / sums[:, 0].sum(), _NOISE)
    if found.low is not None and found.value <= noise:
        return Estimate(value=found.value, low=0.0, high=found.high, n=found.n)
    return found
