"""The calibration error of noise alone, against scipy's binomial and simulated forecasts."""

import numpy as np
import pytest
from scipy import stats

from rewardscope.statistics.calibration import calibrated_ece, ece, mean_deviation
from rewardscope.statistics.draws import draw


@pytest.mark.parametrize(("n", "chance"), [(1, 0.05), (5, 0.5), (17, 0.9), (400, 1 / 3), (3, 1.0)])
def test_the_mean_deviation_of_a_share_is_that_of_the_binomial(n: int, chance: float) -> None:
    expected = stats.binom(n, chance).expect(lambda hits: abs(hits / n - chance))
    found = mean_deviation(np.array([float(n)]), np.array([chance]))
    assert found[0] == pytest.approx(expected)


def test_equal_forecasts_of_one_row_a_problem_err_as_a_binomial_share_does() -> None:
    right_N = (np.arange(40) % 4 == 0) * 1.0
    found = calibrated_ece(np.full(40, 0.3), right_N, draw(np.arange(40), seed=0))
    expected = stats.binom(40, 0.3).expect(lambda hits: abs(hits / 40 - 0.3))
    assert found == pytest.approx(expected)


def test_rows_that_go_together_count_as_one_problem() -> None:
    # 40 problems of 5 equal rows: as many independent ones as problems
    right_N = np.repeat((np.arange(40) % 4 == 0) * 1.0, 5)
    found = calibrated_ece(np.full(200, 0.3), right_N, draw(np.repeat(np.arange(40), 5), seed=0))
    expected = stats.binom(40, 0.3).expect(lambda hits: abs(hits / 40 - 0.3))
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("problems", "rows", "shared"), [(20, 1, 0.0), (40, 8, 0.0), (40, 8, 0.5), (100, 4, 1.0)]
)
def test_calibrated_forecasts_have_the_error_that_is_said_on_average(
    problems: int, rows: int, shared: float
) -> None:
    # what happens has exactly the forecast chance; problems share a part of what decides it
    rng, found, said = np.random.default_rng(0), [], []
    problem_N = np.repeat(np.arange(problems), rows)
    for _ in range(200):
        chance_N = rng.beta(0.6, 0.6, size=len(problem_N))
        own_N, common_P = rng.normal(size=len(problem_N)), rng.normal(size=problems)
        luck_N = np.sqrt(1 - shared) * own_N + np.sqrt(shared) * common_P[problem_N]
        right_N = (stats.norm.cdf(luck_N) < chance_N) * 1.0
        found.append(ece(chance_N, right_N))
        said.append(calibrated_ece(chance_N, right_N, draw(problem_N, seed=0)))
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(said) == pytest.approx(np.mean(found), abs=3 * error)
