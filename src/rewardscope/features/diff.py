"""Which features fire more on one data set than on another, with intervals and tests over problems.

The statistic is the difference of firing rates, rate = rows in which the feature fires / rows. Rows
of a problem depend on one another, so problems are what is left out and drawn: the interval is that
of `statistics`, and the test is a t test with a variance clustered by problem. A problem on
both sides counts as one cluster, so that its difficulty cancels.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from rewardscope.features.categories import CATEGORIES, FORMATTING, Category
from rewardscope.features.firing import FiringSums
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import MIN_PROBLEMS, spreads

# Shape legend: P problems (of both sides together), U units of them, F features, C categories.
_FEATURES_AT_ONCE = 4096
_ROUNDING = 1e-6  # of a rate in float32
MIN_FIRING = 5  # problems where a feature fires on either side, for an interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two data sets compared feature by feature; `fires_F` says which features fire on either, the
    rest has p 1.

    difference_F: rate on the first side less rate on the second, bounded by low_F and high_F (95 %;
    NaN where too few problems say anything). log2_ratio_F: of the rates, half a firing added to
    each count. effect_F: Cohen's h, 2 asin sqrt rate less the same, in [-pi, pi].
    mass_share_FC: share of a feature's activation, over both sides, on tokens of each category.
    """

    fires_F: np.ndarray
    rates_2F: np.ndarray
    means_2F: np.ndarray
    difference_F: np.ndarray
    low_F: np.ndarray
    high_F: np.ndarray
    log2_ratio_F: np.ndarray
    effect_F: np.ndarray
    p_F: np.ndarray
    q_F: np.ndarray
    mass_share_FC: np.ndarray
    n_rows: tuple[int, int]
    n_problems: tuple[int, int]


def compare(first: FiringSums, second: FiringSums, *, n_resamples: int, seed: int) -> Comparison:
    """Compare the firing of every feature on two data sets. p and q are of the features that fire
    on either side.
    """
    sides = (first, second)
    rows_2P, count_2PF = align(first, second)
    rates_2F = np.stack([side.rate_F for side in sides])
    counts_2F = np.stack([side.count_PF.sum(axis=0, dtype=np.float64) for side in sides])
    fires_F = counts_2F.sum(axis=0) > 0
    low_F, high_F = rate_intervals(rows_2P, count_2PF, n_resamples=n_resamples, seed=seed)
    p_F = clustered_p_values(rows_2P, count_2PF)
    q_F = np.ones_like(p_F)
    q_F[fires_F] = benjamini_hochberg(p_F[fires_F])
    padded_2F = (counts_2F + 0.5) / np.array([[first.n_rows + 1.0], [second.n_rows + 1.0]])
    arcs_2F = 2 * np.arcsin(np.sqrt(rates_2F))
    mass_CF = first.mass_CF + second.mass_CF
    return Comparison(
        fires_F=fires_F,
        rates_2F=rates_2F,
        means_2F=np.stack([side.mean_F for side in sides]),
        difference_F=rates_2F[0] - rates_2F[1],
        low_F=low_F,
        high_F=high_F,
        log2_ratio_F=np.log2(padded_2F[0] / padded_2F[1]),
        effect_F=arcs_2F[0] - arcs_2F[1],
        p_F=p_F,
        q_F=q_F,
        mass_share_FC=(mass_CF / np.maximum(mass_CF.sum(axis=0), 1e-30)).T,
        n_rows=(first.n_rows, second.n_rows),
        n_problems=(len(first.problems), len(second.problems)),
    )


def align(first: FiringSums, second: FiringSums) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return rows [2, P] and counts 2 x [P, F] over the problems of both sides; a problem that a
    side lacks has zeros there.
    """
    problems = {
        name: code for code, name in enumerate(dict.fromkeys((*first.problems, *second.problems)))
    }
    rows_2P, counts = np.zeros((2, len(problems))), []
    for number, side in enumerate((first, second)):
        positions = [problems[name] for name in side.problems]
        rows_2P[number, positions] = side.rows_P
        count_PF = np.zeros((len(problems), side.count_PF.shape[1]), dtype=np.float32)
        count_PF[positions] = side.count_PF
        counts.append(count_PF)
    return rows_2P, counts


def rate_intervals(
    rows_2P: np.ndarray, count_2PF: list[np.ndarray], *, n_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends [F] of the 95 % intervals of the differences of rates, over problems.

    NaN where a side has fewer than `MIN_PROBLEMS` problems, a feature fires in fewer than
    `MIN_FIRING` of them, or its rate is the same in all of them.
    """
    n_features = count_2PF[0].shape[1]
    low_F, high_F = np.full((2, n_features), np.nan)
    n_smaller = int((rows_2P > 0).sum(axis=1).min())
    if n_smaller < MIN_PROBLEMS:
        return low_F, high_F
    draws = draw(np.arange(rows_2P.shape[1]), seed=seed, n_resamples=n_resamples)
    rows_2U = [draws.sums(rows_P)[:, 0].astype(np.float32) for rows_P in rows_2P]
    for start in range(0, n_features, _FEATURES_AT_ONCE):
        part = slice(start, start + _FEATURES_AT_ONCE)
        counts = [count_PF[:, part] for count_PF in count_2PF]
        fires_F = ((counts[0] + counts[1]) > 0).sum(axis=0) >= MIN_FIRING
        if not fires_F.any():
            continue
        rates = []  # of each side: on all problems, and without each unit
        for rows_U, count_PF in zip(rows_2U, counts, strict=True):
            count_UF = _by_unit(count_PF[:, fires_F], draws.unit_N, draws.n_units)
            total_F, n_rows = count_UF.sum(axis=0), rows_U.sum()
            rates.append((total_F / n_rows, (total_F - count_UF) / (n_rows - rows_U)[:, None]))
        (first_F, first_UF), (second_F, second_UF) = rates
        value_F, spread = first_F - second_F, spreads(first_UF - second_UF, draws, n=n_smaller)
        places = start + np.flatnonzero(fires_F)
        varies_F = spread.error_K > _ROUNDING * np.maximum(first_F, second_F)
        ends = (
            value_F - spread.upper_K * spread.error_K,
            value_F - spread.lower_K * spread.error_K,
        )
        low_F[places], high_F[places] = (np.where(varies_F, end, np.nan) for end in ends)
    return low_F, high_F


def _by_unit(count_PF: np.ndarray, unit_P: np.ndarray, n_units: int) -> np.ndarray:
    """Return the sums over the problems of each unit."""
    if len(count_PF) == n_units:
        return count_PF
    count_UF = np.zeros((n_units, count_PF.shape[1]), dtype=count_PF.dtype)
    np.add.at(count_UF, unit_P, count_PF)
    return count_UF


def clustered_p_values(rows_2P: np.ndarray, count_2PF: list[np.ndarray]) -> np.ndarray:
    """Return two-sided p values [F] of the difference of rates being 0.

    A problem's share in the difference is linearised: its count less rate times its rows, over all
    rows, first side less second; the variance is the sum of squares of these, times m / (m - 1),
    and the reference is Student's t with m - 1 degrees, m the smaller number of problems of a side.
    p is never below 2^(1-m), the least that flipping the signs of m problems could show, so a
    feature that splits a few problems perfectly does not pass for certain. With the same number of
    rows in every problem and all problems shared it is the paired t test of the problems' rates.
    """
    influence_PF, difference_F = np.zeros(count_2PF[0].shape), np.zeros(count_2PF[0].shape[1])
    for sign, rows_P, count_PF in zip((1, -1), rows_2P, count_2PF, strict=True):
        rate_F = count_PF.sum(axis=0, dtype=np.float64) / rows_P.sum()
        influence_PF += sign * (count_PF - rows_P[:, None] * rate_F) / rows_P.sum()
        difference_F += sign * rate_F
    m = int((rows_2P > 0).sum(axis=1).min())
    if m < 2:
        return np.ones_like(difference_F)
    error_F = np.sqrt((influence_PF**2).sum(axis=0) * m / (m - 1))
    t_F = np.divide(
        np.abs(difference_F), error_F, out=np.full_like(difference_F, np.inf), where=error_F > 0
    )
    p_F = np.maximum(2 * stdtr(m - 1, -t_F), 2.0 ** (1 - m))
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


def favoured(comparison: Comparison, *, fdr: float, min_log2_ratio: float) -> np.ndarray:
    """Return +1 for features of the first side, -1 of the second, 0 of neither [F].

    A feature is of a side where q <= fdr and its rate there is at least 2^min_log2_ratio times the
    other's.
    """
    clear_F = (
        comparison.fires_F
        & (comparison.q_F <= fdr)
        & (np.abs(comparison.log2_ratio_F) >= min_log2_ratio)
    )
    return np.where(clear_F, np.sign(comparison.difference_F), 0).astype(int)


def formatting_share(mass_share_FC: np.ndarray) -> np.ndarray:
    """Return the share [F] of activation on whitespace, punctuation and Unicode symbols."""
    return mass_share_FC[:, [CATEGORIES.index(category) for category in FORMATTING]].sum(axis=1)


def top_category(mass_share_FC: np.ndarray) -> list[Category]:
    """Return the category with the most activation, for each feature."""
    return [CATEGORIES[code] for code in mass_share_FC.argmax(axis=1)]
