"""Metrics against scikit-learn and scipy, intervals against a bootstrap that really repeats the
rows.
"""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from rewardscope.probes.scores import (
    auroc,
    difference,
    ece,
    margin,
    mean_of,
    pearson,
    r2,
    ranks,
    resample,
    score,
    spearman,
)

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


def slow_interval(
    statistic, problem: np.ndarray, *arrays: np.ndarray, seed: int, n_resamples: int = 1000
) -> tuple[float, float]:
    """Draw problems and concatenate their rows, one resample after the other, with the generator
    that the project uses.
    """
    rows_of = [np.flatnonzero(problem == number) for number in np.unique(problem)]
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(n_resamples):
        rows = np.concatenate([rows_of[p] for p in rng.integers(len(rows_of), size=len(rows_of))])
        drawn.append(statistic(*(array[rows] for array in arrays)))
    return tuple(np.quantile(drawn, [0.025, 0.975]))


def explained(target: np.ndarray, predicted: np.ndarray) -> float:
    return 1 - np.mean((target - predicted) ** 2) / np.var(target)


def share_of_pairs(positive: np.ndarray, scores: np.ndarray) -> float:
    above, below = scores[positive][:, None], scores[~positive][None, :]
    return float(np.mean((above > below) + 0.5 * (above == below)))


def test_the_interval_of_r2_is_that_of_resampled_rows() -> None:
    target, predicted, problem = make_rows()
    target = target + 1000  # a large mean must not cost precision
    predicted = predicted + 1000
    found = score(target, predicted, resample(problem, seed=5), classes=False).headline
    low, high = slow_interval(explained, problem, target, predicted, seed=5)
    assert (found.value, found.low, found.high) == pytest.approx(
        (r2_score(target, predicted), low, high), abs=1e-9
    )
    assert found.n == len(np.unique(problem))


@pytest.mark.parametrize("cells", [10, 4_000_000])  # a problem at a time, or all at once
def test_the_interval_of_auroc_is_that_of_resampled_rows(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, predicted, problem = make_rows()
    drawn = resample(problem, seed=5)
    monkeypatch.setattr("rewardscope.probes.scores._CELLS", cells)
    found = score((target > 0).astype(float), predicted, drawn, classes=True).headline
    low, high = slow_interval(share_of_pairs, problem, target > 0, predicted, seed=5)
    assert (found.value, found.low, found.high) == pytest.approx(
        (roc_auc_score(target > 0, predicted), low, high), abs=1e-9
    )


def test_resamples_with_one_class_only_are_left_out() -> None:
    # Two problems: every fourth resample draws one of them twice and has one class.
    drawn = resample(np.array([0, 0, 1, 1]), seed=0)
    found = score(np.array([0.0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), drawn, classes=True)
    assert (found.headline.value, found.headline.low, found.headline.high) == (1.0, 1.0, 1.0)
    # of 1000; each of two problems alone has one class
    assert 300 < np.isnan(found.draws_R).sum() < 700


def test_score_fills_what_belongs_to_classes_for_classes_only() -> None:
    target, predicted, problem = make_rows()
    drawn = resample(problem, seed=0)
    reward = score(target, predicted, drawn, classes=False)
    correct = score((target > 0).astype(float), predicted, drawn, classes=True)
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


def test_differences_are_drawn_on_the_same_resamples() -> None:
    target, predicted, problem = make_rows()
    drawn = resample(problem, seed=5)
    good, poor = (score(target, p, drawn, classes=False) for p in (predicted, 0.1 * predicted))
    found = difference(good, poor)
    low, high = slow_interval(
        lambda t, a, b: explained(t, a) - explained(t, b),
        problem,
        target,
        predicted,
        0.1 * predicted,
        seed=5,
    )
    assert (found.value, found.low, found.high) == pytest.approx(
        (good.r2 - poor.r2, low, high), abs=1e-9
    )
    assert difference(good, good).high == 0


def test_the_margin_is_that_to_the_best_control_of_each_resample() -> None:
    target, predicted, problem = make_rows()
    drawn = resample(problem, seed=5)
    predictors = {"own": predicted, "a": 0.4 * predicted, "b": np.zeros(N)}
    own, a, b = (score(target, p, drawn, classes=False) for p in predictors.values())
    name, found = margin(own, {"b": b, "a": a})

    def lead(t: np.ndarray, *p: np.ndarray) -> float:
        return explained(t, p[0]) - max(explained(t, p[1]), explained(t, p[2]))

    low, high = slow_interval(lead, problem, target, *predictors.values(), seed=5)
    assert name == "a"
    assert (found.value, found.low, found.high) == pytest.approx(
        (own.r2 - a.r2, low, high), abs=1e-9
    )


def test_the_mean_of_predictors_is_that_of_their_metrics_and_of_each_resample() -> None:
    target, predicted, problem = make_rows()
    drawn = resample(problem, seed=5)
    a, b = (
        score((target > 0).astype(float), p, drawn, classes=True) for p in (predicted, -predicted)
    )
    found = mean_of([a, b])
    assert found.auroc == found.headline.value == pytest.approx(0.5) and (
        found.headline.low,
        found.headline.high,
    ) == pytest.approx((0.5, 0.5))
    assert found.mse == pytest.approx((a.mse + b.mse) / 2) and found.majority == a.majority
    assert mean_of([score(target, predicted, drawn, classes=False)]).auroc is None
