import math

import numpy as np
import pytest
from scipy import stats

from rewardscope.statistics.draws import MAX_UNITS, draw
from rewardscope.statistics.intervals import (
    AMOUNT,
    auroc_estimate,
    interval,
    of_trials,
    paired_share,
    share,
    wilson,
)
from rewardscope.statistics.measures import auroc_measure, mean


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


def mean_of(values, *, seed=0, problem=None):
    problem = np.arange(len(values)) if problem is None else problem
    draws = draw(problem, seed=seed)
    return interval(mean(np.asarray(values, dtype=float), draws), draws)


def test_the_interval_of_a_mean_is_near_students():
    values = np.random.default_rng(5).normal(3.0, 2.0, size=400)
    estimate = mean_of(values)
    low, high = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low <= low + 1e-9 and estimate.high >= high - 1e-9  # never narrower
    assert estimate.high - estimate.low == pytest.approx(high - low, rel=0.1)


@pytest.mark.parametrize("n", [10, 60])
def test_the_interval_holds_a_skewed_mean_about_as_often_as_it_says(n):
    rng = np.random.default_rng(11)
    estimates = [mean_of(rng.exponential(1.0, size=n), seed=i) for i in range(300)]
    covered = sum(e.low <= 1.0 <= e.high for e in estimates)
    # 95 % of 300 is 285; 4 binomial deviations are 15.
    assert 270 <= covered <= 298


def test_the_rows_of_a_problem_stay_together():
    # Two kinds of problem, each with 50 equal rows: n is 20 problems, so the interval is as wide as
    # that of 20 values, not of 1000.
    values, problem = np.repeat(np.arange(20) % 2, 50), np.repeat(np.arange(20), 50)
    estimate = mean_of(values, problem=problem)
    assert estimate.n == 20
    wide = 2 * stats.t.ppf(0.975, 19) * 0.5 / math.sqrt(19)
    assert estimate.high - estimate.low == pytest.approx(wide, rel=0.15)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = list(np.random.default_rng(0).exponential(size=30))
    assert mean_of(values, seed=1) == mean_of(values, seed=1)
    assert mean_of(values, seed=1) != mean_of(values, seed=2)


def test_few_problems_and_values_that_do_not_vary_have_no_interval():
    few, equal = mean_of([1.0, 2.0, 4.0]), mean_of([0.5] * 40)
    assert (few.value, few.low, few.high, few.n) == (pytest.approx(7 / 3), None, None, 3)
    assert (equal.value, equal.low, equal.high) == (0.5, None, None)
    assert str(equal) == "0.500 - n=40"


def test_an_amount_is_never_below_nothing():
    draws = draw(np.arange(12), seed=0)
    values = np.array([0.0] * 10 + [1.0, 30.0])
    assert interval(mean(values, draws), draws).low < 0
    assert interval(mean(values, draws), draws, scale=AMOUNT).low == 0


def test_many_problems_are_left_out_in_groups_and_counted_one_by_one():
    values = np.random.default_rng(0).normal(size=2000)
    draws = draw(np.arange(2000), seed=0)
    assert (draws.n_units, draws.n_problems) == (MAX_UNITS, 2000)
    estimate = interval(mean(values, draws), draws)
    wide = 2 * 1.96 * values.std() / math.sqrt(2000)
    assert estimate.high - estimate.low == pytest.approx(wide, rel=0.12) and estimate.n == 2000


def test_paired_difference_ignores_the_spread_between_problems():
    rng = np.random.default_rng(2)
    difficulty, draws = rng.normal(0.0, 100.0, size=50), draw(np.arange(50), seed=0)
    gain = rng.normal(1.0, 0.1, size=50)
    found = interval(mean(difficulty + gain, draws) - mean(difficulty, draws), draws)
    assert found.value == pytest.approx(gain.mean())
    assert 0.9 < found.low < found.high < 1.1


def test_a_share_of_one_row_a_problem_is_that_of_trials():
    draws = draw(np.arange(10), seed=0)
    assert share([1.0] * 8 + [0.0] * 2, draws) == of_trials(8, 10)


@pytest.mark.parametrize(("successes", "n"), [(0, 12), (1, 18), (2, 18), (9, 18), (12, 12)])
def test_trials_have_the_wider_end_of_wilsons_and_jeffreys_interval(successes, n):
    found, score = (
        of_trials(successes, n),
        stats.binomtest(successes, n).proportion_ci(method="wilson"),
    )
    jeffreys = stats.beta.ppf([0.025, 0.975], successes + 0.5, n - successes + 0.5)
    assert found.low == pytest.approx(min(score.low, jeffreys[0]) if successes else 0)
    assert found.high == pytest.approx(max(score.high, jeffreys[1]) if successes < n else 1)


def test_of_18_trials_no_share_is_missed_much_more_often_than_said():
    # Exact coverage, from the binomial distribution; Wilson's interval alone holds 0.03 in 0.900.
    for truth in np.linspace(0.01, 0.99, 99):
        held = [e.low <= truth <= e.high for e in (of_trials(x, 18) for x in range(19))]
        assert stats.binom.pmf(np.arange(19), 18, truth)[held].sum() > 0.92


def test_rows_of_a_problem_that_go_together_count_as_one_problem():
    # 20 problems whose 30 rows are all right or all wrong: as wide as Wilson's interval of 20.
    right, problem = np.repeat(np.arange(20) % 4 == 0, 30), np.repeat(np.arange(20), 30)
    found, single = share(right * 1.0, draw(problem, seed=0)), wilson(5, 20)
    assert found.high - found.low == pytest.approx(single.high - single.low, rel=0.1)


def test_none_of_17_rows_is_not_certainly_none():
    # 17 rows of 6 problems: as of 6 independent ones at most, 6 / (6 + z^2) with Student's z.
    found = share(np.zeros(17), draw(np.arange(17) % 6, seed=0))
    z = stats.t.ppf(0.975, 5)
    assert (found.low, found.high) == (0.0, pytest.approx(z**2 / (6 + z**2)))


def test_a_paired_difference_of_shares_has_a_width_where_no_problem_differs():
    # Bonett and Price: one more problem won and one more lost, so variance 2/(n+2)^2.
    found, half = paired_share([0.0] * 18, seed=0), 1.959964 * math.sqrt(2 / 20 / 20)
    assert (found.low, found.high) == pytest.approx((-half, half), rel=1e-4)
    won = paired_share([1.0] * 6 + [0.0] * 10 + [-1.0] * 2, seed=0)
    # Bonett and Price 2012: p12 = 7/20, p21 = 3/20
    half = 1.959964 * math.sqrt((0.35 + 0.15 - 0.2**2) / 20)
    assert (won.low, won.high) == pytest.approx((0.2 - half, 0.2 + half), rel=1e-4)
    assert won.value == pytest.approx(4 / 18)


def test_an_auroc_near_1_of_few_problems_is_held_about_as_often_as_said():
    rng, gap, n, held = np.random.default_rng(3), 3.0, 18, 0
    for number in range(200):
        problem = np.repeat(np.arange(n), 6)
        shared = rng.normal(size=(2, n))[:, problem] + rng.normal(size=(2, 6 * n))
        right, scored = shared / math.sqrt(2)
        positive = right < 0.3
        draws = draw(problem, seed=number % 4)
        measured = auroc_measure(positive, scored + gap * positive, draws)
        found = auroc_estimate(measured, positive, draws)
        held += found.low <= stats.norm.cdf(gap / math.sqrt(2)) <= found.high
    # Student's t in place of the bootstrap-t holds it in 181 of 200.
    assert 186 <= held <= 200
