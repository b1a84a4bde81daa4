"""Values without each problem against statistics of rows that are really left out."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score, roc_auc_score

from rewardscope.statistics.calibration import calibration_error
from rewardscope.statistics.draws import Draws, draw
from rewardscope.statistics.intervals import CORRELATION, auroc_estimate, interval
from rewardscope.statistics.measures import (
    Measured,
    auroc_measure,
    average,
    fvu_measure,
    mean,
    pearson_measure,
    r2_measure,
    ratio,
    spearman_measure,
)
from rewardscope.statistics.selection import best_of, lead

PROBLEM = np.random.default_rng(3).integers(15, size=200) * 7
A = np.round(np.random.default_rng(4).normal(size=200), 1)
B = np.round(A + np.random.default_rng(5).normal(size=200), 1)


def without(statistic, *columns: np.ndarray) -> list[float]:
    return [
        statistic(*(column[problem != PROBLEM] for column in columns))
        for problem in np.unique(PROBLEM)
    ]


@pytest.mark.parametrize(
    ("measure", "statistic"),
    [
        (lambda draws: mean(A, draws), lambda a, b: a.mean()),
        (lambda draws: ratio(A, B**2, draws), lambda a, b: a.sum() / (b**2).sum()),
        (lambda draws: r2_measure(A + 1000, B + 1000, draws), r2_score),
        (lambda draws: pearson_measure(A, B, draws), lambda a, b: stats.pearsonr(a, b).statistic),
        (lambda draws: spearman_measure(A, B, draws), lambda a, b: stats.spearmanr(a, b).statistic),
        (lambda draws: auroc_measure(A > 0, B, draws), lambda a, b: roc_auc_score(a > 0, b)),
    ],
)
def test_a_measure_is_the_statistic_on_all_rows_and_without_each_problem(measure, statistic):
    found: Measured = measure(draw(PROBLEM, seed=0))
    assert found.value == pytest.approx(statistic(A, B), abs=1e-9)
    assert found.without_U == pytest.approx(without(statistic, A, B), abs=1e-9)
    assert found.n == 15


def test_the_variance_left_is_that_of_the_rows_of_the_other_problems() -> None:
    rng = np.random.default_rng(0)
    state, error, draws = rng.normal(size=(200, 3)) + 2, rng.random(200), draw(PROBLEM, seed=0)
    totals = np.stack([draws.sums(column)[:, 0] for column in state.T], axis=1)
    sums = draws.sums(np.ones(200), error, (state**2).sum(axis=1))
    found = fvu_measure(sums, totals, draws)

    def left(error: np.ndarray, *columns: np.ndarray) -> float:
        return error.sum() / (len(error) * sum(column.var() for column in columns))

    assert found.value == pytest.approx(left(error, *state.T))
    assert found.without_U == pytest.approx(without(left, error, *state.T))


def test_means_and_differences_of_measures_are_taken_problem_by_problem() -> None:
    draws = draw(PROBLEM, seed=0)
    a, b = mean(A, draws), mean(B, draws)
    assert average([a, b]).without_U == pytest.approx((a.without_U + b.without_U) / 2)
    assert (a - b).without_U == pytest.approx(mean(A - B, draws).without_U)


def test_an_auroc_without_an_error_is_not_certain() -> None:
    right, draws = np.arange(40) % 2, draw(np.arange(40) // 2, seed=0)
    found = auroc_estimate(auroc_measure(right, right * 1.0, draws), right, draws)
    assert found.value == found.high == 1.0 and found.low is not None and 0.7 < found.low < 0.9


def test_one_problem_that_alone_has_a_class_leaves_no_interval() -> None:
    right, draws = np.arange(40) < 2, draw(np.arange(40) // 2, seed=0)
    found = auroc_estimate(auroc_measure(right, A[:40], draws), right, draws)
    assert np.isfinite(found.value) and found.low is None


def test_intervals_of_correlations_stay_below_one() -> None:
    draws = draw(np.arange(12), seed=0)
    a = np.arange(12.0)
    found = interval(pearson_measure(a, a + 0.3 * (-1.0) ** a, draws), draws, scale=CORRELATION)
    assert found.value > 0.99 and found.high is not None and found.value < found.high < 1


def test_honest_forecasts_may_be_without_error_and_dishonest_ones_not() -> None:
    rng = np.random.default_rng(1)
    chance, draws = rng.random(600), draw(np.arange(600) % 40, seed=0)
    honest = calibration_error(chance, (rng.random(600) < chance) * 1.0, draws)
    wrong = calibration_error(chance, (rng.random(600) < chance**3) * 1.0, draws)
    assert honest.low == 0 and wrong.low is not None and wrong.low > 0.1


def normal_measures(n: int, k: int, seed: int) -> tuple[list[Measured], Draws]:
    draws = draw(np.arange(n), seed=0)
    return [mean(x, draws) for x in np.random.default_rng(seed).normal(size=(k, n))], draws


def test_the_best_of_several_equals_is_not_above_them() -> None:
    # 20 equal means: the largest of them is above its own interval's low end far too often.
    naive = chosen = 0
    for seed in range(100):
        measured, draws = normal_measures(40, 20, seed)
        name, found = best_of({str(i): each for i, each in enumerate(measured)}, draws)
        own = interval(measured[int(name)], draws)
        assert found.value == own.value and found.low is not None and own.low is not None
        naive, chosen = naive + (own.low > 0), chosen + (found.low > 0)
    assert naive > 20 and chosen <= 8  # 2.5 % of 100, and four deviations


def test_the_lead_is_that_over_the_best_and_its_low_end_below_that_over_each() -> None:
    measured, draws = normal_measures(40, 4, 0)
    own, *others = measured
    name, found = lead(own, {str(i): each for i, each in enumerate(others)}, draws)
    assert found.value == own.value - max(other.value for other in others)
    assert others[int(name)].value == max(other.value for other in others)
    lows = [interval(own - other, draws).low for other in others]
    assert found.low == pytest.approx(min(low for low in lows if low is not None))
    few, draws = normal_measures(12, 2, 0)
    assert lead(few[0], {"a": few[1]}, draws)[1].low is None
