"""How a PRM's scores run along traces: against position, length and count of steps, and as
forecasts of a right answer.

All intervals are over problems. Nothing here reads files or models.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.records import Estimate, PatternBin
from rewardscope.statistics.calibration import N_BINS, bin_of, calibrated_ece, calibration_error
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import (
    CORRELATION,
    PLAIN,
    UNIT,
    auroc_estimate,
    interval,
    share,
)
from rewardscope.statistics.measures import auroc_measure, mean, spearman_measure

# Shape legend: N rows (steps or traces).
_RANKED_CELLS = 5_000_000  # rows by units that are ranked anew
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
    ece_calibrated: float
    """What calibrated scores like these would have on average."""
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
    inside_01 = bool(np.all((steps.score >= 0) & (steps.score <= 1)))
    found = []
    for number in range(len(edges) - 1):
        inside = (bin_N == number) & np.isfinite(value_N)
        if not inside.any():
            continue
        draws = draw(steps.problem[inside], seed=seed)
        bounds = interval(
            mean(steps.score[inside], draws), draws, scale=UNIT if inside_01 else PLAIN
        )
        found.append(
            PatternBin(
                policy=policy,
                window=window,
                answer=answer,
                by=what,
                start=float(edges[number]),
                end=float(edges[number + 1]),
                mean=bounds.value,
                low=bounds.low,
                high=bounds.high,
                n_steps=int(inside.sum()),
                n_traces=len(np.unique(steps.trace[inside])),
                n_problems=bounds.n,
            )
        )
    return found


def rank_correlation(a_N: Array, b_N: Array, problem_N: NDArray, *, seed: int) -> Estimate | None:
    """Return Spearman's correlation with its interval over problems; None where one side is
    constant.

    Of many rows the problems are left out in groups, so that ranking them anew stays cheap.
    """
    known = np.isfinite(a_N) & np.isfinite(b_N)
    if not known.any() or np.ptp(a_N[known]) == 0 or np.ptp(b_N[known]) == 0:
        return None
    max_units = int(np.clip(_RANKED_CELLS // known.sum(), 60, 500))
    draws = draw(problem_N[known], seed=seed, max_units=max_units)
    return interval(spearman_measure(a_N[known], b_N[known], draws), draws, scale=CORRELATION)


def calibrate(chance_N: Array, right_N: Array, problem_N: NDArray, *, seed: int) -> Calibration:
    """Compare forecasts between 0 and 1 with answers that are right (1) or wrong (0)."""
    draws, bin_N = draw(problem_N, seed=seed), bin_of(chance_N)
    curve = []
    for number in np.unique(bin_N):
        inside = bin_N == number
        curve.append(
            Reliability(
                start=number / N_BINS,
                end=(number + 1) / N_BINS,
                forecast=float(chance_N[inside].mean()),
                right=share(right_N[inside], draws.among(inside)),
                n_rows=int(inside.sum()),
            )
        )
    both = 0 < right_N.sum() < len(right_N)
    return Calibration(
        ece=calibration_error(chance_N, right_N, draws),
        ece_calibrated=calibrated_ece(chance_N, right_N, draws),
        brier=interval(mean((chance_N - right_N) ** 2, draws), draws, scale=UNIT),
        auroc=(
            auroc_estimate(auroc_measure(right_N, chance_N, draws), right_N, draws)
            if both
            else None
        ),
        curve=curve,
    )
