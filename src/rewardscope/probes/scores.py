"""How well predictions follow a target: r2, correlations, AUROC, calibration, with intervals over
problems.

Every predictor of the same rows is judged on the same problems, so that differences between them
have an interval.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rewardscope.records import Estimate
from rewardscope.statistics.calibration import calibrated_ece, ece
from rewardscope.statistics.draws import Array, Draws
from rewardscope.statistics.intervals import DIFFERENCE, EXPLAINED, PLAIN, UNIT, auroc_estimate
from rewardscope.statistics.intervals import interval as interval_of
from rewardscope.statistics.measures import (
    Measured,
    auroc_measure,
    average,
    pearson,
    r2,
    r2_measure,
    spearman,
)
from rewardscope.statistics.selection import lead

# Shape legend: N rows.


class Scores(NamedTuple):
    """Metrics on held-out rows. `headline` is r2, or AUROC for a target of two classes, with its
    interval over problems.

    `auroc`, `accuracy`, `majority`, `ece` and `ece_calibrated` (what calibrated probabilities would
    have on average) are for two classes only. `measured` is the headline with its values without
    each problem.
    """

    r2: float
    pearson: float
    spearman: float
    mse: float
    auroc: float | None
    accuracy: float | None
    majority: float | None
    ece: float | None
    ece_calibrated: float | None
    headline: Estimate
    measured: Measured


def score(target_N: Array, predicted_N: Array, draws: Draws, *, classes: bool) -> Scores:
    """Compare predictions with a target.

    `classes` says that the target is 0 or 1 and the prediction its probability.
    """
    if classes:
        measured = auroc_measure(target_N, predicted_N, draws)
        headline = auroc_estimate(measured, target_N, draws)
    else:
        measured = r2_measure(target_N, predicted_N, draws)
        headline = interval_of(measured, draws, scale=EXPLAINED)
    share = float(target_N.mean())
    return Scores(
        r2=r2(target_N, predicted_N),
        pearson=pearson(target_N, predicted_N),
        spearman=spearman(target_N, predicted_N),
        mse=float(np.mean((target_N - predicted_N) ** 2)),
        auroc=measured.value if classes else None,
        accuracy=float(np.mean((predicted_N > 0.5) == (target_N > 0.5))) if classes else None,
        majority=max(share, 1 - share) if classes else None,
        ece=ece(predicted_N, target_N) if classes else None,
        ece_calibrated=calibrated_ece(predicted_N, target_N, draws) if classes else None,
        headline=headline,
        measured=measured,
    )


def margin(own: Scores, controls: Mapping[str, Scores], draws: Draws) -> tuple[str, Estimate]:
    """Return the best control's name and how far the headline is above it, with an interval that
    allows for the choice among them.
    """
    measured = {name: control.measured for name, control in controls.items()}
    return lead(own.measured, measured, draws)


def difference(a: Scores, b: Scores, draws: Draws) -> Estimate:
    """Return how far the headline of `a` is above that of `b` on the same rows; a predictor is
    exactly as good as itself.
    """
    if a is b:
        return Estimate(value=0.0, low=0.0, high=0.0, n=a.headline.n)
    scale = DIFFERENCE if a.auroc is not None else PLAIN
    return interval_of(a.measured - b.measured, draws, scale=scale)


def mean_of(scores: Sequence[Scores], draws: Draws) -> Scores:
    """Return the mean of every metric over several predictors of the same rows, with the interval
    of their mean headline.
    """
    first = scores[0]
    if len(scores) == 1:
        return first
    measured = average([one.measured for one in scores])
    names = [name for name in Scores._fields if name not in ("headline", "measured")]
    means = {
        name: (
            None
            if getattr(first, name) is None
            else float(np.mean([getattr(one, name) for one in scores]))
        )
        for name in names
    }
    scale = UNIT if first.auroc is not None else EXPLAINED
    headline = interval_of(measured, draws, scale=scale)
    return first._replace(**means, headline=headline, measured=measured)
