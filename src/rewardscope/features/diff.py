"""Which features fire more on one data set than on another, with intervals and tests over problems.

The statistic is the difference of firing rates, rate = rows in which the feature fires / rows, over
all rows or over those that a control matches (`controls`). Rows of a problem depend on one another,
so problems are what is left out and drawn: the interval is that of `statistics`, and the test is a
t test with a variance clustered by problem. A problem on both sides counts as one cluster, so that
its difficulty cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy import sparse
from scipy.special import stdtr

from rewardscope.features.categories import CATEGORIES, FORMATTING, Category
from rewardscope.features.contrast_sums import MatchedSums
from rewardscope.features.controls import Matching
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import MIN_PROBLEMS, spreads

# Shape legend: P problems (of both sides together), U units of them, F features, S strata,
# C categories.
MIN_FIRING = 5  # problems where a feature fires on either side, for an interval
_ROUNDING = 1e-9  # of the rates: a difference below it is none
_FLOAT32 = 1e-6  # of the rates: an error below it is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Features compared under one control: on all rows, or on those that it matches.

    rates_2F: shares of rows, each with its weight. difference_F: rate on the first side less rate
    on the second, bounded by low_F and high_F (95 %; NaN where too few problems say anything).
    log2_ratio_F: of the rates, half a firing added to each count.
    """

    rates_2F: np.ndarray
    difference_F: np.ndarray
    low_F: np.ndarray
    high_F: np.ndarray
    log2_ratio_F: np.ndarray
    p_F: np.ndarray

    @property
    def fires_F(self) -> np.ndarray:
        """Which features fire on either side; the rest has p 1."""
        return self.rates_2F.sum(axis=0) > 0

    @property
    def q_F(self) -> np.ndarray:
        """q values among the features that fire on either side, 1 for the rest."""
        q_F, fires_F = np.ones_like(self.p_F), self.fires_F
        q_F[fires_F] = benjamini_hochberg(self.p_F[fires_F])
        return q_F


def compare(m: Matching, sums: MatchedSums, *, n_resamples: int, seed: int) -> Comparison:
    """Compare the firing of every feature on the rows that a control matches; without resamples
    there are no intervals.
    """
    rates_2F = sums.total_2PF.sum(axis=1)
    low_F, high_F = rate_intervals(m, sums, n_resamples=n_resamples, seed=seed)
    n_rows_21 = m.n_2S.sum(axis=1)[:, None]
    padded_2F = (rates_2F * n_rows_21 + 0.5) / (n_rows_21 + 1)
    return Comparison(
        rates_2F=rates_2F,
        difference_F=_difference(rates_2F),
        low_F=low_F,
        high_F=high_F,
        log2_ratio_F=np.log2(padded_2F[0] / padded_2F[1]),
        p_F=clustered_p_values(m, sums),
    )


def join_chunks(chunks: Sequence[Comparison]) -> Comparison:
    """Put comparisons of chunks of features under one control together."""
    columns = {
        field.name: np.concatenate([getattr(chunk, field.name) for chunk in chunks], axis=-1)
        for field in fields(Comparison)
    }
    return Comparison(**columns)


def _difference(rates_2F: np.ndarray) -> np.ndarray:
    difference_F = rates_2F[0] - rates_2F[1]
    return np.where(np.abs(difference_F) > _ROUNDING * rates_2F.sum(axis=0), difference_F, 0.0)


def influences(m: Matching, sums: MatchedSums, scale_2P: np.ndarray | None = None) -> np.ndarray:
    """Return what each problem adds to the difference of rates [P, F], the difference itself taken
    out; `scale_2P` multiplies the parts of the two sides.

    A row adds its weight times its firing less what is expected in its stratum: the rate r of both
    sides together, moved by the difference d as if it were the same in every stratum, so r + d
    n2/n on the first side and r - d n1/n on the second. With one stratum these are the sides' own
    rates. Pooling keeps strata of few rows honest, where a side's own rate would fit them exactly.
    """
    scale_2P = np.ones((2, sums.total_2PF.shape[1])) if scale_2P is None else scale_2P
    n_S = np.maximum(m.n_2S.sum(axis=0), 1)
    signs = (1.0, -1.0)
    shares = [sparse.diags(s * k) @ w for s, k, w in zip(signs, scale_2P, m.share_2PS, strict=True)]
    expected_PS = ((shares[0] + shares[1]) @ sparse.diags(1 / n_S)).astype(sums.pooled_SF.dtype)
    moved_P = sum(
        np.abs(share_PS @ (other_S / n_S))
        for share_PS, other_S in zip(shares, m.n_2S[::-1], strict=True)
    )
    found_PF = scale_2P[0][:, None] * sums.total_2PF[0] - scale_2P[1][:, None] * sums.total_2PF[1]
    found_PF -= expected_PS @ sums.pooled_SF
    found_PF -= np.outer(moved_P, _difference(sums.total_2PF.sum(axis=1)))
    return found_PF


def rate_intervals(
    m: Matching, sums: MatchedSums, *, n_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends [F] of the 95 % intervals of the differences of rates, over problems.

    They are those of `statistics`, from the difference without each problem, the weights of strata
    held. NaN where a side has fewer than `MIN_PROBLEMS` problems, a feature fires in fewer than
    `MIN_FIRING` of them, or its rate is the same in all of them.
    """
    low_F, high_F = np.full((2, sums.total_2PF.shape[2]), np.nan)
    n_smaller = min(m.n_problems)
    fires_F = ((sums.total_2PF > 0).any(axis=0)).sum(axis=0) >= MIN_FIRING
    if n_smaller < MIN_PROBLEMS or not n_resamples or not fires_F.any():
        return low_F, high_F
    weight_2P = np.stack([np.asarray(w.sum(axis=1)).reshape(-1) for w in m.share_2PS])
    compared = np.flatnonzero(weight_2P.any(axis=0))
    draws = draw(np.arange(len(compared)), seed=seed, n_resamples=n_resamples)
    weight_2U = draws.sums(*weight_2P[:, compared]).T
    scale_2P = np.zeros_like(weight_2P)
    scale_2P[:, compared] = 1 / np.maximum(1 - weight_2U, 1e-9)[:, draws.unit_N]
    chosen = MatchedSums(sums.total_2PF[:, :, fires_F], sums.pooled_SF[:, fires_F])
    pull_PF = influences(m, chosen, scale_2P)[compared]
    pull_UF = _by_unit(pull_PF, draws.unit_N, draws.n_units).astype(np.float32)
    spread = spreads(-pull_UF, draws, n=n_smaller)
    value_F = _difference(chosen.total_2PF.sum(axis=1))
    varies_F = spread.error_K > _FLOAT32 * chosen.total_2PF.sum(axis=1).max(axis=0)
    for ends_F, quantile_K in ((low_F, spread.upper_K), (high_F, spread.lower_K)):
        ends_F[fires_F] = np.where(varies_F, value_F - quantile_K * spread.error_K, np.nan)
    return low_F, high_F


def _by_unit(value_PF: np.ndarray, unit_P: np.ndarray, n_units: int) -> np.ndarray:
    """Return the sums over the problems of each unit."""
    if len(value_PF) == n_units:
        return value_PF
    value_UF = np.zeros((n_units, value_PF.shape[1]), dtype=value_PF.dtype)
    np.add.at(value_UF, unit_P, value_PF)
    return value_UF


def clustered_p_values(m: Matching, sums: MatchedSums) -> np.ndarray:
    """Return two-sided p values [F] of the difference of rates being 0.

    The variance is the sum of squares of what problems add (`influences`), times m / (m - 1), and
    the reference is Student's t with m - 1 degrees, m the smaller number of problems of a side.
    p is never below 2^(1-m), the least that flipping the signs of m problems could show, so a
    feature that splits a few problems perfectly does not pass for certain. On all rows, with the
    same number of them in every problem and all problems shared, it is the paired t test of the
    problems' rates.
    """
    difference_F = _difference(sums.total_2PF.sum(axis=1))
    n_smaller = min(m.n_problems)
    if n_smaller < 2:
        return np.ones_like(difference_F)
    error_F = np.sqrt((influences(m, sums) ** 2).sum(axis=0) * n_smaller / (n_smaller - 1))
    t_F = np.divide(
        np.abs(difference_F), error_F, out=np.full_like(difference_F, np.inf), where=error_F > 0
    )
    p_F = np.maximum(2 * stdtr(n_smaller - 1, -t_F), 2.0 ** (1 - n_smaller))
    return np.where(difference_F == 0, 1.0, p_F)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return q values: the least false discovery rate at which each hypothesis is rejected.

    Source: Benjamini and Hochberg 1995.
    """
    order = np.argsort(p)[::-1]
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    q = np.empty_like(p)
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled))
    return q


def favoured(c: Comparison, *, fdr: float, min_log2_ratio: float) -> np.ndarray:
    """Return +1 for features of the first side, -1 of the second, 0 of neither [F].

    A feature is of a side where q <= fdr and its rate there is at least 2^min_log2_ratio times the
    other's.
    """
    clear_F = c.fires_F & (c.q_F <= fdr) & (np.abs(c.log2_ratio_F) >= min_log2_ratio)
    return np.where(clear_F, np.sign(c.difference_F), 0).astype(int)


def formatting_share(mass_share_FC: np.ndarray) -> np.ndarray:
    """Return the share [F] of activation on whitespace, punctuation and Unicode symbols."""
    return mass_share_FC[:, [CATEGORIES.index(category) for category in FORMATTING]].sum(axis=1)


def top_category(mass_share_FC: np.ndarray) -> list[Category]:
    """Return the category with the most activation, for each feature."""
    return [CATEGORIES[code] for code in mass_share_FC.argmax(axis=1)]
