"""How a PRM's scores run along traces: against position, length and count of steps, and as
forecasts of a right answer.

All intervals are over problems. Nothing here reads files or models.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.probes.scores import (
    N_BINS,
    Resamples,
    auroc,
    auroc_draws,
    bin_of,
    ece,
    interval,
    pearson,
    ranks,
    resample,
)
from rewardscope.records import Estimate, PatternBin

# Shape legend: N rows (steps or traces), P problems, R resamples, B bins.
Array = NDArray[np.float64]
POSITION, LENGTH, COUNT = "position", "step length", "step count"
ANSWERS = {True: "right", False: "wrong", None: "unknown"}


class ScoredTrace(NamedTuple):
    """One trace with a score a step. A step length is NaN where it is not known."""

    problem: str
    scores: tuple[float, ...]
    lengths: tuple[float, ...]
    correct: bool | None
    in_window: bool


class Steps(NamedTuple):
    """The steps of some traces, one row each."""

    score: Array
    position: Array
    """Of the step's middle, from 0 to 1."""
    length: Array
    count: Array
    """Steps of the trace."""
    problem: NDArray[np.int64]
    trace: NDArray[np.int64]

    def by(self, what: str) -> Array:
        return {POSITION: self.position, LENGTH: self.length, COUNT: self.count}[what]


class Reliability(NamedTuple):
    """One bin of a reliability curve: the mean forecast, and the share of right answers with its
    interval.
    """

    start: float
    end: float
    forecast: float
    right: Estimate
    n_rows: int


class Calibration(NamedTuple):
    """How good scores are as probabilities of a right answer."""

    ece: Estimate
    brier: Estimate
    auroc: Estimate | None
    """None where all answers are right, or all are wrong."""
    curve: list[Reliability]


def steps_of(traces: Iterable[ScoredTrace]) -> Steps:
    """Lay out the steps of traces as rows."""
    problems: dict[str, int] = {}
    rows = [
        (
            score,
            (place + 0.5) / len(t.scores),
            length,
            len(t.scores),
            problems.setdefault(t.problem, len(problems)),
            number,
        )
        for number, t in enumerate(traces)
        for place, (score, length) in enumerate(zip(t.scores, t.lengths, strict=True))
    ]
    score, position, length, count, problem, trace = (
        np.array(rows, dtype=np.float64).reshape(-1, 6).T
    )
    return Steps(score, position, length, count, problem.astype(np.int64), trace.astype(np.int64))


def bin_edges(values_N: Array, *, bins: int) -> Array:
    """Return edges between which about equally many values lie, the last one a little above the
    largest; NaN is left out.

    No more than `bins` different values get a bin each.
    """
    values_N = values_N[np.isfinite(values_N)]
    starts = np.unique(values_N)
    if len(starts) > bins:
        starts = np.unique(
            np.quantile(values_N, np.linspace(0, 1, bins + 1)[:-1], method="nearest")
        )
    return np.append(starts, values_N.max() + 1e-9 + 1e-9 * abs(values_N.max()))


def mean_scores(
    steps: Steps, what: str, edges: Array, *, seed: int, policy: str, window: str, answer: str
) -> list[PatternBin]:
    """Return the mean score in each bin that has steps, with intervals over problems."""
    value_N = steps.by(what)
    bin_N = np.searchsorted(edges, value_N, side="right") - 1
    drawn, found = resample(steps.problem, seed=seed) if len(value_N) else None, []
    for number in range(len(edges) - 1):
        inside = (bin_N == number) & np.isfinite(value_N)
        if drawn is None or not inside.any():
            continue
        bounds = _mean(steps.score, inside, drawn)
        found.append(
            PatternBin(
                policy=policy,
                window=window,
                answer=answer,
                by=what,
                start=float(edges[number]),
                end=float(edges[number + 1]),
                mean=bounds.value,
                low=bounds.low if bounds.n > 1 else None,
                high=bounds.high if bounds.n > 1 else None,
                n_steps=int(inside.sum()),
                n_traces=len(np.unique(steps.trace[inside])),
                n_problems=bounds.n,
            )
        )
    return found


def rank_correlation(a_N: Array, b_N: Array, problem_N: NDArray, *, seed: int) -> Estimate | None:
    """Return Spearman's correlation with its interval over problems; None where one side is
    constant.

    Ranks are those among all rows also in a resample, so that a resample costs O(problems).
    """
    known = np.isfinite(a_N) & np.isfinite(b_N)
    if not known.any() or np.ptp(a_N[known]) == 0 or np.ptp(b_N[known]) == 0:
        return None
    a_N, b_N = (ranks(values[known]) - (known.sum() + 1) / 2 for values in (a_N, b_N))
    drawn = resample(problem_N[known], seed=seed)
    sums = [
        _sum_draws(value, drawn)
        for value in (np.ones_like(a_N), a_N, b_N, a_N**2, b_N**2, a_N * b_N)
    ]
    n, a, b, aa, bb, ab = sums
    spread_R = (aa - a**2 / n) * (bb - b**2 / n)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws_R = np.where(spread_R > 0, (ab - a * b / n) / np.sqrt(spread_R), np.nan)
    return interval(pearson(a_N, b_N), draws_R, n=drawn.n_problems)


def calibrate(chance_N: Array, right_N: Array, problem_N: NDArray, *, seed: int) -> Calibration:
    """Compare forecasts between 0 and 1 with answers that are right (1) or wrong (0)."""
    drawn, bin_N = resample(problem_N, seed=seed), bin_of(chance_N)
    n_R = _sum_draws(np.ones_like(chance_N), drawn)
    gap_BR = [
        np.abs(_sum_draws((chance_N - right_N) * (bin_N == number), drawn))
        for number in range(N_BINS)
    ]
    brier_N = (chance_N - right_N) ** 2
    both = 0 < right_N.sum() < len(right_N)
    curve = []
    for number in np.unique(bin_N):
        inside = bin_N == number
        forecast, right = float(chance_N[inside].mean()), _mean(right_N, inside, drawn)
        curve.append(
            Reliability(number / N_BINS, (number + 1) / N_BINS, forecast, right, int(inside.sum()))
        )
    return Calibration(
        ece=interval(ece(chance_N, right_N), np.sum(gap_BR, axis=0) / n_R, n=drawn.n_problems),
        brier=interval(float(brier_N.mean()), _sum_draws(brier_N, drawn) / n_R, n=drawn.n_problems),
        auroc=(
            interval(
                auroc(chance_N, right_N), auroc_draws(right_N, chance_N, drawn), n=drawn.n_problems
            )
            if both
            else None
        ),
        curve=curve,
    )


def _sum_draws(value_N: Array, drawn: Resamples) -> Array:
    """Return the sum over rows in each resample."""
    return drawn.times_RP @ np.bincount(
        drawn.problem_N, weights=value_N, minlength=drawn.n_problems
    ).astype(np.float64)


def _mean(value_N: Array, inside_N: NDArray[np.bool_], drawn: Resamples) -> Estimate:
    """Return the mean of some rows with its interval;

    `n` counts the problems that have such rows.
    """
    sum_R, n_R = (
        _sum_draws(value_N * inside_N, drawn),
        _sum_draws(inside_N.astype(np.float64), drawn),
    )
    with np.errstate(invalid="ignore"):
        return interval(
            float(value_N[inside_N].mean()),
            sum_R / n_R,
            n=len(np.unique(drawn.problem_N[inside_N])),
        )
