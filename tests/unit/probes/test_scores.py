"""Metrics against scikit-learn and scipy, intervals against a bootstrap that really repeats the rows."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score, roc_auc_score

from rewardscope.probes.scores import auroc, auroc_interval, pearson, r2, r2_interval, ranks, score, spearman

N, PROBLEMS = 400, 40


def make_rows(seed: int = 0, *, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a target, predictions (rounded, so that some are equal) and problem numbers with gaps."""
    rng = np.random.default_rng(seed)
    problem = 3 * rng.integers(PROBLEMS, size=N)
    target = rng.normal(size=N) + rng.normal(size=3 * PROBLEMS)[problem]
    predicted = 0.7 * target + rng.normal(size=N)
    return target, np.round(predicted, 1) if ties else predicted, problem


@pytest.mark.parametrize("ties", [True, False])
def test_metrics_are_those_of_sklearn_and_scipy(ties: bool) -> None:
    target, predicted, _ = make_rows(ties=ties)
    assert r2(target, predicted) == pytest.approx(r2_score(target, predicted), abs=1e-12)
    assert pearson(target, predicted) == pytest.approx(stats.pearsonr(target, predicted).statistic, abs=1e-12)
    assert spearman(target, predicted) == pytest.approx(stats.spearmanr(target, predicted).statistic, abs=1e-12)
    assert auroc(predicted, target > 0) == pytest.approx(roc_auc_score(target > 0, predicted), abs=1e-12)
    np.testing.assert_array_equal(ranks(predicted), stats.rankdata(predicted))


def test_auroc_of_equal_scores_is_one_half_and_of_one_class_is_unknown() -> None:
    assert auroc(np.zeros(6), np.array([1, 0, 0, 1, 1, 0])) == 0.5
    assert math.isnan(auroc(np.arange(3.0), np.ones(3)))


def test_constant_predictions_have_no_correlation() -> None:
    target, _, _ = make_rows()
    assert pearson(target, np.full(N, 0.3)) == 0 and spearman(target, np.full(N, 0.3)) == 0


def slow_interval(statistic, problem: np.ndarray, *arrays: np.ndarray, seed: int, n_resamples: int = 1000) -> tuple[float, float]:
    """Draw problems and concatenate their rows, one resample after the other, with the generator that the project uses."""
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
    found = r2_interval(target, predicted, problem, seed=5)
    low, high = slow_interval(explained, problem, target, predicted, seed=5)
    assert (found.value, found.low, found.high) == pytest.approx((r2_score(target, predicted), low, high), abs=1e-9)
    assert found.n == len(np.unique(problem))


def test_the_interval_of_auroc_is_that_of_resampled_rows() -> None:
    target, predicted, problem = make_rows()
    found = auroc_interval(predicted, target > 0, problem, seed=5)
    low, high = slow_interval(share_of_pairs, problem, target > 0, predicted, seed=5)
    assert (found.value, found.low, found.high) == pytest.approx((roc_auc_score(target > 0, predicted), low, high), abs=1e-9)


def test_resamples_with_one_class_only_are_left_out() -> None:
    # Two problems: every fourth resample draws one of them twice and has one class.
    found = auroc_interval(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), seed=0)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_score_fills_auroc_for_classes_only_and_takes_it_as_the_headline() -> None:
    target, predicted, problem = make_rows()
    reward = score(target, predicted, problem, classes=False, seed=0)
    correct = score((target > 0).astype(float), predicted, problem, classes=True, seed=0)
    assert reward.auroc is None and reward.headline.value == pytest.approx(reward.r2)
    assert correct.auroc == pytest.approx(correct.headline.value)
    assert correct.headline.low < correct.headline.value < correct.headline.high
