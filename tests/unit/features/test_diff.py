import numpy as np
import pytest
from scipy import stats

from rewardscope.features.categories import CATEGORIES
from rewardscope.features.contrast_sums import unmatched
from rewardscope.features.diff import (
    Comparison,
    benjamini_hochberg,
    clustered_p_values,
    compare,
    favoured,
    formatting_share,
    rate_intervals,
)


def test_q_values_are_those_of_the_example_worked_by_hand() -> None:
    # Sorted p .01 .02 .03 .2 times 4/rank: .04 .04 .04 .2; the running minimum from the right
    # changes nothing further.
    assert benjamini_hochberg(np.array([0.03, 0.2, 0.01, 0.02])) == pytest.approx(
        [0.04, 0.2, 0.04, 0.04]
    )
    # .5 -> 1.0 (2/1 * .5), .9 -> .9; the minimum from the right makes both .9.
    assert benjamini_hochberg(np.array([0.5, 0.9])) == pytest.approx([0.9, 0.9])
    assert len(benjamini_hochberg(np.array([]))) == 0


def test_with_equal_rows_and_shared_problems_p_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    counts = [rng.integers(0, 20, size=(15, 4)) for _ in range(2)]
    p_F = clustered_p_values(*unmatched(np.full((2, 15), 20.0), np.stack(counts)))
    for feature in range(4):
        assert p_F[feature] == pytest.approx(
            stats.ttest_rel(counts[0][:, feature] / 20, counts[1][:, feature] / 20).pvalue, rel=1e-6
        )


def test_with_equal_rows_and_no_shared_problem_the_statistic_is_that_of_welch() -> None:
    rng = np.random.default_rng(1)
    counts = [rng.integers(0, 20, size=(30, 3)) for _ in range(2)]
    rows_2P = np.zeros((2, 60))
    padded = [np.zeros((60, 3), dtype=np.float32) for _ in range(2)]
    rows_2P[0, :30], rows_2P[1, 30:] = 20, 20
    padded[0][:30], padded[1][30:] = counts
    p_F = clustered_p_values(*unmatched(rows_2P, np.stack(padded)))
    for feature in range(3):
        t = stats.ttest_ind(
            counts[0][:, feature] / 20, counts[1][:, feature] / 20, equal_var=False
        ).statistic
        assert p_F[feature] == pytest.approx(2 * stats.t.sf(abs(t), 29), rel=1e-6)


def test_p_values_are_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(2)
    n_problems, n_features = 40, 600
    rows_2P = rng.integers(20, 60, size=(2, n_problems)).astype(float)
    # problems differ, the sides do not: rows of a problem go together
    rates_PF = rng.beta(2, 8, size=(n_problems, n_features))
    counts = [
        rng.binomial(rows_P[:, None].astype(int), rates_PF).astype(np.float32) for rows_P in rows_2P
    ]
    p_F = clustered_p_values(*unmatched(rows_2P, np.stack(counts)))
    assert stats.kstest(p_F, "uniform").pvalue > 0.01
    # 5 % of 600 is 30, its binomial deviation 5.3.
    assert 14 <= (p_F < 0.05).sum() <= 46


def test_p_is_bounded_by_what_so_few_problems_can_show() -> None:
    rows_2P = np.full((2, 4), 10.0)
    always, never = np.full((4, 1), 10, dtype=np.float32), np.zeros((4, 1), dtype=np.float32)
    assert clustered_p_values(*unmatched(rows_2P, np.stack([always, never]))) == pytest.approx(
        [2 / 2**4]
    )
    assert clustered_p_values(*unmatched(rows_2P, np.stack([always, always]))) == pytest.approx(
        [1.0]
    )
    assert clustered_p_values(
        *unmatched(rows_2P[:, :1], np.stack([always[:1], never[:1]]))
    ) == pytest.approx([1.0])


def test_the_interval_is_that_of_problems_left_out() -> None:
    rng = np.random.default_rng(3)
    rows_2P = rng.integers(5, 30, size=(2, 24)).astype(float)
    rows_2P[0, :2], rows_2P[1, 2:4] = 0, 0  # problems of one side only
    counts = [
        rng.binomial(rows_P[:, None].astype(int), 0.3, size=(24, 3)).astype(np.float32)
        for rows_P in rows_2P
    ]
    low_F, high_F = rate_intervals(*unmatched(rows_2P, np.stack(counts)), n_resamples=4000, seed=0)
    left_out = []
    for problem in range(24):
        kept = np.arange(24) != problem
        first, second = (
            c[kept].sum(axis=0) / r[kept].sum() for c, r in zip(counts, rows_2P, strict=True)
        )
        left_out.append(first - second)
    wide = 2 * stats.t.ppf(0.975, 21) * np.sqrt(23 * np.var(left_out, axis=0))
    assert np.all(high_F - low_F >= wide * 0.999) and high_F - low_F == pytest.approx(wide, rel=0.2)


def test_a_feature_of_few_problems_has_no_interval() -> None:
    rows_2P, fires = np.full((2, 20), 10.0), np.zeros((20, 2), dtype=np.float32)
    fires[:4, 0], fires[:5, 1] = 3, 3
    low_F, _ = rate_intervals(
        *unmatched(rows_2P, np.stack([fires, fires * 0])), n_resamples=200, seed=0
    )
    assert np.isnan(low_F).tolist() == [True, False]
    few = unmatched(rows_2P[:, :9], np.stack([fires[:9], fires[:9] * 0]))
    low_F, _ = rate_intervals(*few, n_resamples=200, seed=0)
    assert np.isnan(low_F).all()


def test_a_comparison_reports_rates_and_ratios() -> None:
    rows_2P = np.array([[10, 30, 0], [20, 20, 40]])
    counts = [
        np.array([[5, 0, 0], [15, 0, 3], [0, 0, 0]]),
        np.array([[4, 0, 3], [2, 0, 0], [2, 0, 3]]),
    ]
    found = compare(*unmatched(rows_2P, np.stack(counts)), n_resamples=50, seed=0)
    assert found.rates_2F == pytest.approx(np.array([[0.5, 0.0, 0.075], [0.1, 0.0, 0.075]]))
    assert found.difference_F == pytest.approx([0.4, 0.0, 0.0])
    assert found.log2_ratio_F == pytest.approx(
        [
            np.log2((20.5 / 41) / (8.5 / 81)),
            np.log2((0.5 / 41) / (0.5 / 81)),
            np.log2((3.5 / 41) / (6.5 / 81)),
        ]
    )
    assert found.fires_F.tolist() == [True, False, True]
    assert (found.p_F[1], found.q_F[1]) == (1.0, 1.0)
    assert found.q_F[0] == pytest.approx(min(1.0, 2 * found.p_F[0]))
    assert found.p_F[2] == 1.0


def test_the_share_of_formatting_is_that_of_its_categories() -> None:
    mass_FC = np.zeros((3, len(CATEGORIES)))
    for feature, name in enumerate(("whitespace", "word", "unicode")):
        mass_FC[feature, CATEGORIES.index(name)] = 0.75
        mass_FC[feature, CATEGORIES.index("digit")] = 0.25
    assert formatting_share(mass_FC).tolist() == [0.75, 0.0, 0.75]


def test_a_feature_favours_a_side_only_when_it_is_both_clear_and_large() -> None:
    rng = np.random.default_rng(4)
    # the third is clear but less than twice as frequent
    rates = np.array([[0.4, 0.1, 0.32, 0.2], [0.1, 0.4, 0.25, 0.2]])
    counts = [rng.binomial(200, rate, size=(40, 4)) for rate in rates]
    found: Comparison = compare(
        *unmatched(np.full((2, 40), 200), np.stack(counts)), n_resamples=10, seed=0
    )
    assert favoured(found, fdr=0.05, min_log2_ratio=1.0).tolist() == [1, -1, 0, 0]
    assert favoured(found, fdr=0.05, min_log2_ratio=0.1).tolist() == [1, -1, 1, 0]
    assert favoured(found, fdr=1e-40, min_log2_ratio=1.0).tolist() == [0, 0, 0, 0]
