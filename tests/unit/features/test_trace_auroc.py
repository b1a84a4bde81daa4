"""AUROC of many features at once, and ReasonScore."""

import numpy as np
import pytest

from rewardscope.features.reason_score import reason_scores, word_windows
from rewardscope.features.trace_auroc import trace_aurocs
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import Z_95
from rewardscope.statistics.measures import auroc_measure


def test_aurocs_and_their_spread_are_those_of_one_feature_at_a_time() -> None:
    rng = np.random.default_rng(0)
    problem_T = np.repeat(np.arange(40), 4)
    first_T = np.tile([True, True, False, False], 40)
    mean_TF = rng.random((160, 5)) * (rng.random((160, 5)) < 0.6) + 0.2 * first_T[:, None]
    mean_TF += rng.normal(0, 0.3, size=(40, 5))[problem_T]
    found = trace_aurocs(mean_TF, first_T, problem_T)
    draws = draw(problem_T, seed=0)
    for feature in range(5):
        one = auroc_measure(first_T, mean_TF[:, feature], draws)
        assert found.value_F[feature] == pytest.approx(one.value)
        spread = np.sqrt(((one.without_U - one.without_U.mean()) ** 2).sum() * 39 / 40)
        width = found.high_F[feature] - found.low_F[feature]
        assert width == pytest.approx(2 * Z_95 * spread, rel=0.15)


def test_the_interval_of_an_auroc_holds_the_truth() -> None:
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        problem_T, first_T = np.tile(np.arange(30), 2), np.repeat([True, False], 30)
        found = trace_aurocs(rng.random((60, 50)), first_T, problem_T)
        held += ((found.low_F <= 0.5) & (found.high_F >= 0.5)).tolist()
    assert 0.93 <= np.mean(held) <= 0.98


def test_perfect_order_has_a_width_and_few_problems_no_interval() -> None:
    first_T = np.repeat([True, False], 12)
    values_TF = np.where(first_T, 1.0, 0.0)[:, None]
    found = trace_aurocs(values_TF, first_T, np.tile(np.arange(12), 2))
    assert found.value_F.tolist() == found.high_F.tolist() == [1.0] and 0.5 < found.low_F[0] < 1
    few = trace_aurocs(values_TF, first_T, np.tile(np.arange(3), 8))
    assert np.isnan(few.low_F).all()


def test_windows_run_from_two_tokens_before_a_word_to_three_after_it() -> None:
    tokens = ["a", "b", "c", " W", "ait", ",", " d", " e", " f", " weight"]
    assert word_windows(tokens, ["hmm", "wait"]).tolist() == [0, 2, 2, 2, 2, 2, 2, 0, 0, 0]
    # a word of two tokens, whatever its case; no word within a word
    assert word_windows(["Let", " me", " see"], ["let me"]).tolist() == [1, 1, 1]
    assert word_windows(["awaits", "waiting"], ["wait"]).tolist() == [0, 0]
    assert word_windows(["x"], []).tolist() == [0]


def test_the_score_is_that_of_the_formula_by_hand() -> None:
    # two words with 2 rows each, 4 rows outside; feature 0 on both words alike, 1 on one, 2 outside
    sum_WF = np.array([[0.0, 0.0, 4.0], [2.0, 4.0, 0.0], [2.0, 0.0, 0.0]])
    found = reason_scores(sum_WF, np.array([4, 2, 2]))
    # p_R is 4/8, 4/8, 0; the entropy over words 1, 0, 0; p_NR 0, 0, 1
    assert found == pytest.approx([0.5, 0.0, -1.0])
    assert np.isnan(reason_scores(sum_WF, np.array([8, 0, 0]))).all()
