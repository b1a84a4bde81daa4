"""No interval has no width: where nothing varies there is a wide one, or none."""

import json
import math

import numpy as np
import pytest
from msgspec import json as msgspec_json
from scipy import stats

from rewardscope.errors import BadRecord
from rewardscope.features.contrast_sums import unmatched
from rewardscope.features.diff import rate_intervals
from rewardscope.probes.patterns import calibrate, rank_correlation
from rewardscope.records import Estimate
from rewardscope.stages.measures import amount, estimated, paired
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import CORRELATION, UNIT, auroc_estimate, interval, share
from rewardscope.statistics.measures import (
    auroc_measure,
    fvu_measure,
    mean,
    pearson_measure,
    r2_measure,
)
from rewardscope.statistics.selection import best_of, lead

N = 20
ROW = np.arange(3 * N)
DRAWS = draw(ROW % N, seed=0)


def of_a_mean(value: float) -> Estimate:
    return interval(mean(np.full(len(ROW), value), DRAWS), DRAWS, scale=UNIT)


def of_an_auroc() -> Estimate:
    right_N = ROW % 2 == 0
    return auroc_estimate(auroc_measure(right_N, right_N * 1.0, DRAWS), right_N, DRAWS)


def of_an_r2() -> Estimate:
    target_N = np.sin(ROW)
    return interval(r2_measure(target_N, target_N, DRAWS), DRAWS)


def of_a_correlation() -> Estimate:
    return interval(
        pearson_measure(np.sin(ROW), 3 * np.sin(ROW) + 1, DRAWS), DRAWS, scale=CORRELATION
    )


def of_an_fvu() -> Estimate:
    sums_U3 = DRAWS.sums(np.ones(len(ROW)), np.zeros(len(ROW)), np.sin(ROW) ** 2)
    return interval(fvu_measure(sums_U3, DRAWS.sums(np.sin(ROW)), DRAWS), DRAWS)


def of_the_best() -> Estimate:
    perfect = auroc_measure(ROW % 2 == 0, (ROW % 2 == 0) * 1.0, DRAWS)
    noisy = auroc_measure(ROW % 2 == 0, np.random.default_rng(0).normal(size=len(ROW)), DRAWS)
    return best_of({"0": perfect, "1": noisy}, DRAWS)[1]


def of_a_margin() -> Estimate:
    right_N = ROW % 2 == 0
    perfect = auroc_measure(right_N, right_N * 1.0, DRAWS)
    noisy = auroc_measure(right_N, np.random.default_rng(0).normal(size=len(ROW)), DRAWS)
    return lead(perfect, {"as good": perfect, "worse": noisy}, DRAWS)[1]


ALL_EQUAL = {
    "share 0": lambda: share(np.zeros(len(ROW)), DRAWS),
    "share 1": lambda: share(np.ones(len(ROW)), DRAWS),
    "share 1/3": lambda: share(np.full(len(ROW), 1 / 3), DRAWS),
    "trials": lambda: share(np.zeros(N), draw(np.arange(N), seed=0)),
    "one problem": lambda: share(np.zeros(17), draw(np.zeros(17), seed=0)),
    "fractions": lambda: share([0.0] * N, draw(np.arange(N), seed=0), as_fractions=True),
    "amount": lambda: amount([7.0] * N, seed=0),
    "mean": lambda: of_a_mean(0.1),
    "mean 0": lambda: of_a_mean(0.0),
    "paired, equal": lambda: paired([1.0] * N, [1.0] * N, seed=0),
    "paired, all won": lambda: paired([1.0] * N, [0.0] * N, seed=0),
    "paired, all won by a third": lambda: paired([1 / 3] * N, [0.0] * N, seed=0),
    "AUROC 1": of_an_auroc,
    "R2 1": of_an_r2,
    "FVU 0": of_an_fvu,
    "best of": of_the_best,
    "margin": of_a_margin,
}


@pytest.mark.parametrize("kind", ALL_EQUAL)
def test_what_does_not_vary_is_not_certain(kind: str) -> None:
    found = ALL_EQUAL[kind]()
    assert (found.low is None) == (found.high is None)
    if found.low is not None:
        # at most as sure as the rule of three: of 20 trials without a hit, 3 / 20
        assert found.high - found.low > 0.13


def test_a_perfect_correlation_has_no_interval_of_rounding() -> None:
    found = of_a_correlation()
    assert found.low is None or found.high - found.low > 1e-6
    assert rank_correlation(np.sin(ROW), 3 * np.sin(ROW), ROW % N, seed=0).low is None


def test_no_bin_of_a_reliability_curve_is_certain() -> None:
    # 17 forecasts of 0.05, none of which came true, of 6 problems
    problem_N = np.arange(17) % 6
    found = calibrate(np.full(17, 0.05), np.zeros(17), problem_N, seed=0)
    [only] = found.curve
    z = stats.t.ppf(0.975, 5)
    assert (only.right.value, only.right.low) == (0.0, 0.0)
    assert only.right.high == pytest.approx(z**2 / (6 + z**2))
    assert found.ece.low is None and found.brier.low is None


def test_features_that_always_fire_or_never_have_no_interval_of_their_difference() -> None:
    rows_2P = np.full((2, N), 30.0)
    always, never = np.full(N, 30), np.zeros(N)
    a_third, varying = np.full(N, 10), np.arange(N)
    first = np.stack([always, always, a_third, varying], axis=1).astype(np.float32)
    second = np.stack([always, never, a_third, a_third], axis=1).astype(np.float32)
    sums = unmatched(rows_2P, np.stack([first, second]))
    low_F, high_F = rate_intervals(*sums, n_resamples=200, seed=0)
    assert np.isnan(low_F).tolist() == np.isnan(high_F).tolist() == [True, True, True, False]


def test_one_method_has_one_kind_of_interval_at_every_k() -> None:
    # At k = n = 4 each of 12 problems is right or wrong. Wilson's interval at the effective number
    # of rows, n - 1 for independent ones, with Student's quantile: as at the other k.
    right = [1.0] * 5 + [0.0] * 7
    parts = [0.25 * (i % 5) for i in range(12)]
    found = estimated({"pass@1": parts, "pass@4": right, "accuracy": right}, seed=0)
    z, p, n = stats.t.ppf(0.975, 11), 5 / 12, 11
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    together = found["pass@4"]
    assert (together.low, together.high) == pytest.approx((centre - half, centre + half))
    jeffreys = stats.beta.ppf(0.025, 5.5, 7.5)
    assert found["accuracy"].low == pytest.approx(jeffreys) and jeffreys > together.low
    # a greedy file has k = 1 alone, where all are right or wrong
    greedy = estimated({"pass@1": right, "accuracy": right}, seed=0)
    assert greedy["pass@1"] == greedy["accuracy"]


@pytest.mark.parametrize(
    ("low", "value", "high"),
    [(0.6, 0.5, 0.7), (0.1, 0.5, 0.4), (0.1, math.nan, 0.4), (None, 0.5, 0.6), (0.4, 0.5, None)],
)
def test_an_interval_that_does_not_hold_its_value_is_refused(low, value, high) -> None:
    with pytest.raises(BadRecord, match="does not hold its value"):
        Estimate(value=value, low=low, high=high, n=9)
    if not math.isnan(value):
        line = json.dumps({"value": value, "low": low, "high": high, "n": 9})
        with pytest.raises(BadRecord, match="does not hold its value"):
            msgspec_json.decode(line, type=Estimate)
