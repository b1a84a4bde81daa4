"""Metrics against scikit-learn and scipy, intervals against problems that are really left out."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from rewardscope.probes.scores import difference, margin, mean_of, score
from rewardscope.statistics.calibration import ece
from rewardscope.statistics.draws import draw
from rewardscope.statistics.measures import auroc, pearson, r2, ranks, spearman

N, PROBLEMS = 400, 40


def make_rows(seed: int = 0, *, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a target, predictions (rounded, so that some are equal) and problem numbers with
    gaps.
    """
    rng = np.random.default_rng(seed)
    problem = 3 * rng.integers(PROBLEMS, size=N)
    target = rng.normal(size=N) + rng.normal(size=3 * PROBLEMS)[problem]
    predicted = 0.7 * target + rng.normal(size=N)
    return target, np.round(predicted, 1) if ties else predicted, problem


@pytest.mark.parametrize("ties", [True, False])
def test_metrics_are_those_of_sklearn_and_scipy(ties: bool) -> None:
    target, predicted, _ = make_rows(ties=ties)
    assert r2(target, predicted) == pytest.approx(r2_score(target, predicted), abs=1e-12)
    assert pearson(target, predicted) == pytest.approx(
        stats.pearsonr(target, predicted).statistic, abs=1e-12
    )
    assert spearman(target, predicted) == pytest.approx(
        stats.spearmanr(target, predicted).statistic, abs=1e-12
    )
    assert auroc(predicted, target > 0) == pytest.approx(
        roc_auc_score(target > 0, predicted), abs=1e-12
    )
    np.testing.assert_array_equal(ranks(predicted), stats.rankdata(predicted))


def test_auroc_of_equal_scores_is_one_half_and_of_one_class_is_unknown() -> None:
    assert auroc(np.zeros(6), np.array([1, 0, 0, 1, 1, 0])) == 0.5
    assert math.isnan(auroc(np.arange(3.0), np.ones(3)))


def test_constant_predictions_have_no_correlation() -> None:
    target, _, _ = make_rows()
    assert pearson(target, np.full(N, 0.3)) == 0 and spearman(target, np.full(N, 0.3)) == 0


def jackknife_error(statistic, problem: np.ndarray, *arrays: np.ndarray) -> float:
    """Return the standard error from leaving out the rows of each problem in turn."""
    left_out = [
        statistic(*(array[problem != number] for array in arrays)) for number in np.unique(problem)
    ]
    return float(np.sqrt((len(left_out) - 1) * np.var(left_out)))


def explained(target: np.ndarray, predicted: np.ndarray) -> float:
    return 1 - np.mean((target - predicted) ** 2) / np.var(target)


def test_the_interval_of_r2_is_that_of_problems_left_out() -> None:
    target, predicted, problem = make_rows()
    target = target + 1000  # a large mean must not cost precision
    predicted = predicted + 1000
    found = score(target, predicted, draw(problem, seed=5), classes=False).headline
    wide = (
        2 * stats.t.ppf(0.975, found.n - 1) * jackknife_error(explained, problem, target, predicted)
    )
    assert found.low is not None and found.high is not None
    assert found.value == pytest.approx(r2_score(target, predicted), abs=1e-9)
    assert wide <= found.high - found.low <= 1.3 * wide
    assert found.n == len(np.unique(problem))


def test_the_interval_of_auroc_is_that_of_problems_left_out() -> None:
    target, predicted, problem = make_rows()
    found = score(
        (target > 0).astype(float), predicted, draw(problem, seed=5), classes=True
    ).headline
    error = jackknife_error(roc_auc_score, problem, target > 0, predicted)
    assert found.low is not None and found.high is not None
    assert found.value == pytest.approx(roc_auc_score(target > 0, predicted), abs=1e-9)
    wide = 2 * stats.t.ppf(0.975, found.n - 1) * error
    # at least Student's width, and not much more where the AUROC is far from 1
    assert 0.98 * wide < found.high - found.low < 1.15 * wide


def test_two_problems_have_no_interval() -> None:
    draws = draw(np.array([0, 0, 1, 1]), seed=0)
    found = score(np.array([0.0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), draws, classes=True)
    assert (found.headline.value, found.headline.low, found.headline.high) == (1.0, None, None)


def test_score_fills_what_belongs_to_classes_for_classes_only() -> None:
    target, predicted, problem = make_rows()
    draws = draw(problem, seed=0)
    reward = score(target, predicted, draws, classes=False)
    correct = score((target > 0).astype(float), predicted, draws, classes=True)
    assert (reward.auroc, reward.accuracy, reward.majority, reward.ece) == (None,) * 4
    assert reward.headline.value == pytest.approx(reward.r2) and reward.mse == pytest.approx(
        np.mean((target - predicted) ** 2)
    )
    assert correct.auroc == pytest.approx(correct.headline.value)
    assert correct.accuracy == pytest.approx(accuracy_score(target > 0, predicted > 0.5))
    assert correct.majority == pytest.approx(max(np.mean(target > 0), np.mean(target <= 0)))
    assert correct.headline.low < correct.headline.value < correct.headline.high


def test_the_calibration_error_is_that_of_bins_counted_by_hand() -> None:
    # bin 0: 0.05, 0.05 against 0 right; bin 6: 0.62, 0.66 against one half; bin 9: 0.95, 1.0
    # against 1
    chance, right = np.array([0.05, 0.05, 0.62, 0.66, 0.95, 1.0]), np.array([0, 0, 1, 0, 1, 1.0])
    assert ece(chance, right) == pytest.approx((0.1 + 0.28 + 0.05) / 6)
    assert ece(right, right) == 0


def test_differences_are_taken_on_the_same_problems() -> None:
    target, predicted, problem = make_rows()
    draws = draw(problem, seed=5)
    good, poor = (score(target, p, draws, classes=False) for p in (predicted, 0.1 * predicted))
    found = difference(good, poor, draws)
    error = jackknife_error(
        lambda t, a, b: explained(t, a) - explained(t, b),
        problem,
        target,
        predicted,
        0.1 * predicted,
    )
    assert found.low is not None and found.high is not None
    assert found.value == pytest.approx(good.r2 - poor.r2, abs=1e-9)
    wide = 2 * stats.t.ppf(0.975, found.n - 1) * error
    assert wide <= found.high - found.low <= 1.3 * wide
    assert difference(good, good, draws).high == 0


def test_the_margin_is_that_to_the_best_control_and_no_surer_than_over_each() -> None:
    target, predicted, problem = make_rows()
    draws = draw(problem, seed=5)
    predictors = {"own": predicted, "a": 0.4 * predicted, "b": np.zeros(N)}
    own, a, b = (score(target, p, draws, classes=False) for p in predictors.values())
    name, found = margin(own, {"b": b, "a": a}, draws)
    assert name == "a" and found.value == pytest.approx(own.r2 - a.r2, abs=1e-9)
    lows = [difference(own, control, draws).low for control in (a, b)]
    assert found.low == pytest.approx(min(low for low in lows if low is not None))


def test_the_mean_of_predictors_is_that_of_their_metrics_and_of_each_draw() -> None:
    target, predicted, problem = make_rows()
    draws = draw(problem, seed=5)
    a, b = (
        score((target > 0).astype(float), p, draws, classes=True) for p in (predicted, -predicted)
    )
    found = mean_of([a, b], draws)
    assert found.auroc == found.headline.value == pytest.approx(0.5)
    # one is as much above as the other is below, without every problem
    assert found.measured.without_U == pytest.approx(np.full(found.headline.n, 0.5))
    assert found.mse == pytest.approx((a.mse + b.mse) / 2) and found.majority == a.majority
    assert mean_of([score(target, predicted, draws, classes=False)], draws).auroc is None
