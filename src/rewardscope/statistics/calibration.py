"""How far probabilities are from what happens: the calibration error, by bins of equal width."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

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


def calibrated_ece(chance_N: Array, positive_N: NDArray, draws: Draws) -> float:
    """Return the calibration error that calibrated forecasts like these have on average.

    In a bin whose rows vary as much as m independent ones would, the share of positives is on
    average as far from the mean probability as a binomial share of m. Rows of a problem count for
    fewer the more they go together. Sources: Diaconis and Zabell 1991 (de Moivre 1730); Kish 1965.
    """
    bin_N = bin_of(chance_N)
    rows_UB, positive_UB, chance_UB = (
        draws.sums(*(column_N * (bin_N == number) for number in range(N_BINS)))
        for column_N in (np.ones(len(chance_N)), positive_N, chance_N)
    )
    rows_B = rows_UB.sum(axis=0)
    filled_B = rows_B > 0
    rows_UB, rows_B, chance_UB = rows_UB[:, filled_B], rows_B[filled_B], chance_UB[:, filled_B]
    shared = _shared_variance(rows_UB, positive_UB[:, filled_B])
    alike_B = (rows_UB**2).sum(axis=0) / rows_B  # rows of the same problem as a row, with itself
    independent_B = rows_B / (1 + (alike_B - 1) * shared)
    mean_B = np.clip(chance_UB.sum(axis=0) / rows_B, 0.0, 1.0)
    return float(rows_B @ mean_deviation(np.rint(independent_B), mean_B) / rows_B.sum())


def _shared_variance(rows_UB: Array, positive_UB: Array) -> float:
    """Return the correlation of two rows of a problem that are in one bin, 0 to 1, of all bins
    together; 1 where it is not known.
    """
    rows_B, share_B = rows_UB.sum(axis=0), positive_UB.sum(axis=0) / rows_UB.sum(axis=0)
    variance_B = share_B * (1 - share_B)
    together_B = ((positive_UB - rows_UB * share_B) ** 2).sum(axis=0) - rows_B * variance_B
    of_pairs = float((rows_UB * (rows_UB - 1)).sum(axis=0) @ variance_B)
    return min(1.0, max(0.0, float(together_B.sum()) / of_pairs)) if of_pairs else 1.0


def mean_deviation(n_B: Array, chance_B: Array) -> Array:
    """Return how far the share of `n` independent trials is from their chance on average."""
    hit_B = np.minimum(np.floor(n_B * chance_B) + 1, n_B)  # the fewest hits above the mean
    log_ways_B = gammaln(n_B + 1) - gammaln(hit_B + 1) - gammaln(n_B - hit_B + 1)
    log_B = log_ways_B + xlogy(hit_B, chance_B) + xlog1py(n_B - hit_B + 1, -chance_B)
    return 2 * hit_B / n_B * np.exp(log_B)


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
