"""Patterns of step scores against scikit-learn, scipy and counts by hand."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from rewardscope.probes.patterns import (
    COUNT,
    LENGTH,
    POSITION,
    ScoredTrace,
    bin_edges,
    calibrate,
    mean_scores,
    rank_correlation,
    steps_of,
)

TRACES = [
    ScoredTrace("a", (0.9, 0.8), (math.nan, 10.0), True, True),
    ScoredTrace("a", (0.2, 0.4, 0.6, 0.8), (5.0, 6.0, 7.0, 8.0), False, True),
    ScoredTrace("b", (0.5, 0.1), (1.0, 2.0), True, True),
]
NAMES = {"policy": "p", "window": "inside", "answer": "right"}


def test_steps_know_their_place_their_length_and_their_trace() -> None:
    steps = steps_of(TRACES)
    assert steps.position.tolist() == [0.25, 0.75, 0.125, 0.375, 0.625, 0.875, 0.25, 0.75]
    assert steps.count.tolist() == [2, 2, 4, 4, 4, 4, 2, 2]
    assert steps.problem.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert steps.trace.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert len(steps_of([]).score) == 0


def test_means_are_those_of_the_steps_in_each_bin() -> None:
    steps = steps_of(TRACES)
    first, second = mean_scores(steps, POSITION, np.array([0, 0.5, 1]), seed=0, **NAMES)
    assert (first.mean, second.mean) == pytest.approx(
        ((0.9 + 0.2 + 0.4 + 0.5) / 4, (0.8 + 0.6 + 0.8 + 0.1) / 4)
    )
    assert (first.n_steps, first.n_traces, first.n_problems) == (4, 3, 2)
    assert first.low is None and first.high is None  # two problems have no interval
    short, long = mean_scores(steps, COUNT, np.array([2, 3, 5]), seed=0, **NAMES)
    assert short.mean == pytest.approx((0.9 + 0.8 + 0.5 + 0.1) / 4) and long.mean == pytest.approx(
        0.5
    )
    assert long.low is None and long.n_problems == 1  # one problem alone has no interval


def test_steps_of_unknown_length_are_left_out_of_the_bins_of_length_only() -> None:
    steps = steps_of(TRACES)
    edges = bin_edges(steps.length, bins=2)
    assert sum(row.n_steps for row in mean_scores(steps, LENGTH, edges, seed=0, **NAMES)) == 7
    assert (
        sum(
            row.n_steps for row in mean_scores(steps, POSITION, np.array([0, 1.0]), seed=0, **NAMES)
        )
        == 8
    )


def test_bins_hold_every_value_and_about_equally_many() -> None:
    values = np.random.default_rng(0).lognormal(size=1000)
    edges = bin_edges(values, bins=5)
    counts = np.histogram(values, edges)[0]
    assert counts.sum() == 1000 and np.all(np.abs(counts - 200) < 5)
    assert np.histogram(
        np.array([2.0, 4, 4, 4, 9]), bin_edges(np.array([2.0, 4, 4, 4, 9]), bins=5)
    )[0].tolist() == [1, 3, 1]
    assert np.histogram(np.full(4, 3.0), bin_edges(np.full(4, 3.0), bins=5))[0].tolist() == [4]


def test_the_rank_correlation_is_that_of_scipy_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(0)
    problem = rng.integers(50, size=600)
    a = rng.normal(size=600) + rng.normal(size=50)[problem]
    b = np.round(a + rng.normal(size=600), 1)
    found = rank_correlation(a, b, problem, seed=0)
    assert found is not None and found.value == pytest.approx(
        stats.spearmanr(a, b).statistic, abs=1e-12
    )
    # The jackknife by hand on Fisher's scale, ranks taken anew without each problem.
    z = [
        np.arctanh(stats.spearmanr(a[problem != number], b[problem != number]).statistic)
        for number in range(50)
    ]
    half = stats.t.ppf(0.975, 49) * np.sqrt(49 * np.var(z))
    centre = np.arctanh(found.value)
    expected = np.tanh([centre - half, centre + half])
    assert (found.low, found.high) == pytest.approx(expected, abs=0.01)
    assert rank_correlation(a, np.ones(600), problem, seed=0) is None
    assert rank_correlation(a, np.full(600, np.nan), problem, seed=0) is None


def test_calibration_is_that_of_sklearn() -> None:
    rng = np.random.default_rng(0)
    chance, problem = rng.random(2000), rng.integers(100, size=2000)
    right = (rng.random(2000) < chance**2).astype(float)
    found = calibrate(chance, right, problem, seed=0)
    share, forecast = calibration_curve(right, chance, n_bins=10)
    assert [bin_.right.value for bin_ in found.curve] == pytest.approx(share)
    assert [bin_.forecast for bin_ in found.curve] == pytest.approx(forecast)
    n = np.array([bin_.n_rows for bin_ in found.curve])
    assert found.ece.value == pytest.approx(np.sum(n * np.abs(share - forecast)) / 2000)
    assert found.brier.value == pytest.approx(brier_score_loss(right, chance))
    assert found.auroc is not None and found.auroc.value == pytest.approx(
        roc_auc_score(right, chance)
    )
    assert (
        found.ece.low < found.ece.value < found.ece.high
        and found.brier.low < found.brier.value < found.brier.high
    )
    # 1/6: what these forecasts are wrong by
    assert np.mean(chance - chance**2) == pytest.approx(found.ece.value, abs=0.03)


def test_honest_forecasts_have_a_small_error_and_one_class_has_no_auroc() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(5000)
    assert (
        calibrate(
            chance, (rng.random(5000) < chance) * 1.0, np.arange(5000) % 100, seed=0
        ).ece.value
        < 0.03
    )
    assert calibrate(chance, np.ones(5000), np.arange(5000) % 100, seed=0).auroc is None
