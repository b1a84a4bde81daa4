import math

import numpy as np
import pytest

from rewardscope.statistics.intervals import bootstrap, bootstrap_difference, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Roots p of (share - p)^2 = z^2 p (1 - p) / n, the definition of the interval, solved by hand
    # for z = 1.96 to 4 places;
    # the rows 0/10 and 10/10 have the closed form z^2 / (n + z^2).
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson_interval_matches_hand_values(successes, n, low, high):
    estimate = wilson(successes, n)
    assert (estimate.value, estimate.n) == (successes / n, n)
    assert estimate.low == pytest.approx(low, abs=1e-4)
    assert estimate.high == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize(("successes", "n"), [(1, 3), (17, 272), (499, 500)])
def test_wilson_ends_are_the_shares_whose_score_test_is_just_rejected(successes, n):
    estimate = wilson(successes, n)
    for end in (estimate.low, estimate.high):
        z = abs(successes / n - end) / math.sqrt(end * (1 - end) / n)
        assert z == pytest.approx(1.95996398, abs=1e-6)


def test_wilson_of_nothing_is_a_broken_invariant():
    with pytest.raises(AssertionError):
        wilson(0, 0)


def test_bootstrap_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(5).normal(3.0, 2.0, size=400)
    estimate = bootstrap(values, np.mean, seed=0, n_resamples=2000)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    estimates = [
        bootstrap(rng.exponential(1.0, size=60), np.mean, seed=i, n_resamples=200)
        for i in range(200)
    ]
    covered = sum(e.low <= 1.0 <= e.high for e in estimates)
    # 95 % of 200 is 190; the percentile interval of 60 skewed values is a little short. 4 binomial
    # deviations are 12.
    assert 172 <= covered <= 199


def test_bootstrap_keeps_the_rows_of_a_problem_together():
    # Two kinds of problem, each with 50 equal rows: n is 20 problems, so the interval is as wide as
    # that of 20 values, not of 1000.
    groups = [[float(i % 2)] * 50 for i in range(20)]
    estimate = bootstrap(
        groups, lambda drawn: float(np.mean(np.concatenate(drawn))), seed=3, n_resamples=1000
    )
    assert estimate.n == 20
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(20), rel=0.15)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = list(np.random.default_rng(0).normal(size=30))
    first = bootstrap(values, np.mean, seed=1, n_resamples=100)
    assert first == bootstrap(values, np.mean, seed=1, n_resamples=100)
    assert first != bootstrap(values, np.mean, seed=2, n_resamples=100)


def test_undefined_resamples_are_left_out_of_the_interval():
    def mean_unless_constant(drawn):
        return float(np.mean(drawn)) if len(set(drawn)) > 1 else math.nan

    estimate = bootstrap([0.0, 1.0, 1.0], mean_unless_constant, seed=0, n_resamples=500)
    assert (estimate.low, estimate.high) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_a_statistic_that_is_undefined_on_all_problems_is_an_error():
    with pytest.raises(ValueError, match="nan on all 2 problems"):
        bootstrap([1.0, 2.0], lambda drawn: math.nan, seed=0, n_resamples=10)


def test_paired_difference_ignores_the_spread_between_problems():
    rng = np.random.default_rng(2)
    difficulty = rng.normal(0.0, 100.0, size=50)
    gain = rng.normal(1.0, 0.1, size=50)
    estimate = bootstrap_difference(difficulty + gain, difficulty, np.mean, seed=0, n_resamples=500)
    assert estimate.value == pytest.approx(gain.mean())
    assert 0.9 < estimate.low < estimate.high < 1.1


def test_paired_difference_needs_the_same_number_of_problems():
    with pytest.raises(ValueError):
        bootstrap_difference([1.0, 2.0], [1.0], np.mean, seed=0, n_resamples=10)
