"""Votes over subsets of traces, against all subsets counted out."""

import itertools
import math
from collections import Counter

import pytest
from scipy.stats import hypergeom

from rewardscope.stages.votes import (
    DRAWN,
    ENUMERATED,
    Judged,
    best_of,
    majority,
    pass_at_k,
    powers_up_to,
    subsets,
)


@pytest.mark.parametrize(
    ("n", "right", "k"),
    [(1, 0, 1), (1, 1, 1), (5, 0, 2), (5, 1, 1), (5, 1, 2), (5, 3, 2), (5, 3, 5), (8, 2, 4)],
)
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_trace(n, right, k):
    traces = [True] * right + [False] * (n - right)
    chances = [any(subset) for subset in itertools.combinations(traces, k)]
    assert pass_at_k(n, right, k=k) == pytest.approx(sum(chances) / len(chances))


def test_k_runs_over_the_powers_of_two_and_the_number_of_traces():
    assert [powers_up_to(n) for n in (1, 2, 5, 8)] == [[1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8]]


def test_few_subsets_are_all_taken_and_many_are_drawn_once_each_time_the_same():
    assert subsets(4, 2, seed="0") == list(itertools.combinations(range(4), 2))
    drawn = subsets(32, 16, seed="0")
    assert len(drawn) == DRAWN and all(len(set(subset)) == 16 for subset in drawn)
    assert drawn == subsets(32, 16, seed="0") != subsets(32, 16, seed="1")


@pytest.mark.parametrize("k", [1, 2, 4, 5, 8])
def test_a_vote_over_few_subsets_is_exact(k):
    # 5 right answers and 3 equal wrong ones: how many of k are right is hypergeometric, and a tie
    # counts half; the best of k is the one of rank r in (r choose k - 1) of the subsets.
    right = [True, False, True, False, True, True, False, True]
    judged = Judged(
        correct=list(right),
        groups=[0 if each else 1 for each in right],
        scores=[i / 10 for i in range(8)],
        weights=[1.0] * 8,
    )
    some = subsets(8, k, seed="0")
    assert len(some) == math.comb(8, k) <= ENUMERATED
    chance = {n_right: hypergeom.pmf(n_right, 8, 5, k) for n_right in range(k + 1)}
    expected = sum(p * ((2 * n > k) + (2 * n == k) / 2) for n, p in chance.items())
    assert sum(majority(judged, each) for each in some) / len(some) == pytest.approx(expected)
    best = sum(math.comb(rank, k - 1) for rank in range(8) if right[rank]) / math.comb(8, k)
    assert sum(best_of(judged, each) for each in some) / len(some) == pytest.approx(best)


def test_drawn_subsets_estimate_the_vote_over_all_of_them():
    # 16 answers: 7 right, the others spread out; the vote at 8 by all 12870 subsets against 50
    # drawn ones
    groups = [0] * 7 + [7] * 4 + [11] * 3 + [14] * 2
    judged = Judged(
        correct=[i < 7 for i in range(16)], groups=groups, scores=[None] * 16, weights=[None] * 16
    )

    def count(subset: tuple[int, ...]) -> float:
        votes = Counter(groups[i] for i in subset)
        winners = [group for group, n in votes.items() if n == max(votes.values())]
        return (0 in winners) / len(winners)

    every = [count(subset) for subset in itertools.combinations(range(16), 8)]
    drawn = subsets(16, 8, seed="0")
    assert [majority(judged, subset) for subset in drawn] == pytest.approx(
        [count(subset) for subset in drawn]
    )
    estimate = sum(majority(judged, subset) for subset in drawn) / len(drawn)
    assert estimate == pytest.approx(sum(every) / len(every), abs=3 * 0.5 / len(drawn) ** 0.5)
