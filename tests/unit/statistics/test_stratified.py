"""The AUROC within strata, against every pair counted by hand."""

import math

import numpy as np
import pytest

from rewardscope.statistics.draws import draw
from rewardscope.statistics.measures import auroc_measure
from rewardscope.statistics.stratified import stratified_auroc_measure


def by_pairs(positive: np.ndarray, score: np.ndarray, stratum: np.ndarray) -> float:
    won = pairs = 0.0
    for i in np.flatnonzero(positive == 1):
        for j in np.flatnonzero((positive == 0) & (stratum == stratum[i])):
            won += 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
            pairs += 1
    return won / pairs if pairs else math.nan


@pytest.fixture
def rows() -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(3)
    n = 80
    positive = (random.random(n) < 0.4).astype(float)
    score = random.integers(0, 6, n) + positive
    return positive, score.astype(float), random.integers(0, 5, n), random.integers(0, 12, n)


def test_only_pairs_of_one_stratum_count(rows):
    positive, score, stratum, problem = rows
    found = stratified_auroc_measure(positive, score, stratum, draw(problem, seed=0))
    assert found.value == pytest.approx(by_pairs(positive, score, stratum))
    for unit in range(12):
        kept = problem != unit
        expected = by_pairs(positive[kept], score[kept], stratum[kept])
        assert found.without_U[unit] == pytest.approx(expected)


def test_one_stratum_is_the_auroc_and_one_a_row_has_no_value(rows):
    positive, score, _, problem = rows
    draws = draw(problem, seed=0)
    one = stratified_auroc_measure(positive, score, np.zeros(len(score)), draws)
    whole = auroc_measure(positive, score, draws)
    assert one.value == pytest.approx(whole.value)
    assert one.without_U == pytest.approx(whole.without_U)
    alone = stratified_auroc_measure(positive, score, np.arange(len(score)), draws)
    assert math.isnan(alone.value)


def test_a_score_that_only_knows_the_stratum_tells_nothing():
    stratum = np.repeat(np.arange(6), 20)
    positive = np.array([float(i % 20 < 3 * s) for i, s in enumerate(stratum)])
    draws = draw(np.arange(120) % 30, seed=0)
    assert auroc_measure(positive, stratum.astype(float), draws).value > 0.7
    same = stratified_auroc_measure(positive, stratum.astype(float), stratum, draws)
    assert same.value == pytest.approx(0.5)
