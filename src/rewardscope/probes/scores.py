"""How well predictions follow a target: r2, correlations, AUROC, calibration, with intervals over
problems.

Every predictor of the same rows is judged on the same resamples of problems, so that differences
between them have an interval.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.records import Estimate

# Shape legend: N rows, P problems, R resamples, B bins.
Array = NDArray[np.float64]
N_RESAMPLES = 1000
_CELLS = 4_000_000  # of a table of rows by problems that is held at once
N_BINS = 10  # of calibration, of equal width


class Scores(NamedTuple):
    """Metrics on held-out rows. `headline` is r2, or AUROC for a target of two classes, with its
    interval over problems.

    `auroc`, `accuracy`, `majority` and `ece` are for two classes only. `draws_R` is the headline of
    each resample.
    """

    r2: float
    pearson: float
    spearman: float
    mse: float
    auroc: float | None
    accuracy: float | None
    majority: float | None
    ece: float | None
    headline: Estimate
    draws_R: Array


class Resamples(NamedTuple):
    """Problems drawn with replacement: how often each is in each resample, and the problem of each
    row from 0.
    """

    times_RP: NDArray[np.int32]
    problem_N: NDArray[np.int64]

    @property
    def n_problems(self) -> int:
        return self.times_RP.shape[1]


def resample(problem_N: NDArray, *, seed: int, n_resamples: int = N_RESAMPLES) -> Resamples:
    """Draw resamples of the problems that rows belong to."""
    problems, dense_N = np.unique(problem_N, return_inverse=True)
    n, rng = len(problems), np.random.default_rng(seed)
    times = [np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(n_resamples)]
    return Resamples(np.array(times, dtype=np.int32), dense_N)


def interval(value: float, draws_R: Array, *, n: int) -> Estimate:
    """Return a value with the 95 % percentile interval of its resamples; those in which it is
    undefined are left out.
    """
    drawn = draws_R[np.isfinite(draws_R)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (value, value)
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def r2(target_N: Array, predicted_N: Array) -> float:
    """Return the share of variance explained, 1 at best; below 0 is worse than the mean.

    The target must vary.
    """
    residual = float(np.sum((target_N - predicted_N) ** 2))
    return 1 - residual / float(np.sum((target_N - target_N.mean()) ** 2))


def pearson(a_N: Array, b_N: Array) -> float:
    """Return the linear correlation, -1 to 1; 0 where one side is constant."""
    if np.ptp(a_N) == 0 or np.ptp(b_N) == 0:
        return 0.0
    a_N, b_N = a_N - a_N.mean(), b_N - b_N.mean()
    return float(np.sum(a_N * b_N) / np.sqrt(np.sum(a_N**2) * np.sum(b_N**2)))


def ranks(values_N: Array) -> Array:
    """Return ranks from 1; equal values share their mean rank."""
    _, level_N, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[level_N]


def spearman(a_N: Array, b_N: Array) -> float:
    """Return the rank correlation, -1 to 1; 0 where one side is constant."""
    return pearson(ranks(a_N), ranks(b_N))


def auroc(score_N: Array, positive_N: NDArray) -> float:
    """Return the chance that a positive row (1 or True) scores above a negative one, ties counted
    half.

    NaN where a class is missing. Source: Mann and Whitney 1947, by ranks.
    """
    positive_N = positive_N > 0.5
    n_positive = int(positive_N.sum())
    pairs = n_positive * (len(positive_N) - n_positive)
    return (
        (float(ranks(score_N)[positive_N].sum()) - n_positive * (n_positive + 1) / 2) / pairs
        if pairs
        else math.nan
    )


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


def score(target_N: Array, predicted_N: Array, drawn: Resamples, *, classes: bool) -> Scores:
    """Compare predictions with a target;

    `classes` says that the target is 0 or 1 and the prediction its probability.
    """
    find = auroc_draws if classes else r2_draws
    draws_R = find(target_N, predicted_N, drawn)
    value = auroc(predicted_N, target_N) if classes else r2(target_N, predicted_N)
    share = float(target_N.mean())
    return Scores(
        r2=r2(target_N, predicted_N),
        pearson=pearson(target_N, predicted_N),
        spearman=spearman(target_N, predicted_N),
        mse=float(np.mean((target_N - predicted_N) ** 2)),
        auroc=value if classes else None,
        accuracy=float(np.mean((predicted_N > 0.5) == (target_N > 0.5))) if classes else None,
        majority=max(share, 1 - share) if classes else None,
        ece=ece(predicted_N, target_N) if classes else None,
        headline=interval(value, draws_R, n=drawn.n_problems),
        draws_R=draws_R,
    )


def margin(own: Scores, controls: Mapping[str, Scores]) -> tuple[str, Estimate]:
    """Return the best control's name and how far the headline is above it, with its interval over
    problems.

    In each resample it is the best of all controls there that counts, so that choosing among them
    flatters nobody.
    """
    best = max(controls, key=lambda name: controls[name].headline.value)
    strongest_R = np.max([other.draws_R for other in controls.values()], axis=0)
    value = own.headline.value - controls[best].headline.value
    return best, interval(value, own.draws_R - strongest_R, n=own.headline.n)


def difference(a: Scores, b: Scores) -> Estimate:
    """Return how far the headline of `a` is above that of `b` on the same rows, resampled
    together.
    """
    return interval(a.headline.value - b.headline.value, a.draws_R - b.draws_R, n=a.headline.n)


def mean_of(scores: Sequence[Scores]) -> Scores:
    """Return the mean of every metric over several predictors of the same rows, and of their
    headline in each resample.
    """
    value, draws_R = (
        float(np.mean([one.headline.value for one in scores])),
        np.mean([one.draws_R for one in scores], axis=0),
    )
    names = [name for name in Scores._fields if name not in ("headline", "draws_R")]
    means = {
        name: (
            None
            if getattr(scores[0], name) is None
            else float(np.mean([getattr(one, name) for one in scores]))
        )
        for name in names
    }
    return scores[0]._replace(
        **means, headline=interval(value, draws_R, n=scores[0].headline.n), draws_R=draws_R
    )


def r2_draws(target_N: Array, predicted_N: Array, drawn: Resamples) -> Array:
    """Return r2 in each resample, from four sums a problem; NaN where the target does not vary."""
    centred_N = target_N - target_N.mean()  # r2 does not change, and the sums lose less to rounding
    values = (np.ones_like(centred_N), centred_N, centred_N**2, (target_N - predicted_N) ** 2)
    sums_P4 = np.stack(
        [
            np.bincount(drawn.problem_N, weights=value, minlength=drawn.n_problems)
            for value in values
        ],
        axis=1,
    )
    n_R, total_R, squares_R, residual_R = (drawn.times_RP @ sums_P4).T
    spread_R = squares_R - total_R**2 / n_R
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread_R > 1e-12 * squares_R, 1 - residual_R / spread_R, np.nan)


def auroc_draws(positive_N: NDArray, score_N: Array, drawn: Resamples) -> Array:
    """Return AUROC in each resample, NaN where a class is missing.

    Wins of the positive rows of one problem over the negative rows of another are counted once, so
    that no resample goes through the rows again.
    """
    order = np.argsort(score_N)
    score_N, positive_N, problem_N = score_N[order], positive_N[order] > 0.5, drawn.problem_N[order]
    positives = np.flatnonzero(positive_N)
    positives = positives[np.argsort(problem_N[positives], kind="stable")]
    if not len(positives):
        return np.full(len(drawn.times_RP), math.nan)
    # The rows that tie with a positive row are those from `first` to before `after`.
    first_pos, after_pos = (
        np.searchsorted(score_N, score_N[positives], side=side) for side in ("left", "right")
    )
    owners, starts = np.unique(problem_N[positives], return_index=True)
    times_RP, wins_R = drawn.times_RP.astype(np.float64), np.zeros(len(drawn.times_RP))
    step = max(1, _CELLS // len(score_N))
    for low in range(0, drawn.n_problems, step):
        others = np.arange(low, min(low + step, drawn.n_problems))
        # negative rows of each of these problems before a row
        below = np.zeros((len(score_N) + 1, len(others)))
        np.cumsum((problem_N[:, None] == others) & ~positive_N[:, None], axis=0, out=below[1:])
        wins_PP = np.add.reduceat((below[first_pos] + below[after_pos]) / 2, starts, axis=0)
        wins_R += np.einsum("rq,rq->r", times_RP[:, owners] @ wins_PP, times_RP[:, others])
    counts = (
        np.bincount(problem_N[rows], minlength=drawn.n_problems)
        for rows in (positive_N, ~positive_N)
    )
    n_positive_R, n_negative_R = (times_RP @ count for count in counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return wins_R / (n_positive_R * n_negative_R)
