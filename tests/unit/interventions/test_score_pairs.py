"""Changes of scores over pairs, against hand computation and sklearn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rewardscope.interventions.score_pairs import ScoredPair, effect_of, separation, shift_of


def pair(problem: int, before: float, after: float) -> ScoredPair:
    """Return a pair of three steps whose second is edited and split."""
    return ScoredPair(
        f"p/{problem}",
        original=(0.9, before, 0.8),
        edited=(0.9, 0.95, after, 0.7),
        ends=(0, None, 1, 2),
        at=2,
    )


def test_scores_are_read_at_the_edited_step_the_least_and_the_last() -> None:
    one = pair(0, 0.6, 0.1)
    assert one.read("at") == (0.6, 0.1)
    assert one.read("min") == (0.6, 0.1) and pair(0, 0.85, 0.75).read("min") == (0.8, 0.7)
    assert one.read("final") == (0.8, 0.7)


def test_changes_and_the_share_of_pairs_in_order() -> None:
    pairs = [pair(n % 12, 0.5, 0.5 + 0.1 * (n % 4 - 2)) for n in range(24)]
    found = shift_of(pairs, "at", seed=0)
    assert found.change.value == pytest.approx(-0.05) and found.size.value == pytest.approx(0.1)
    assert found.above.value == pytest.approx(0.5 + 0.25 / 2)
    assert found.original == pytest.approx(0.5) and found.change.n == 12
    assert found.change.low is not None and found.change.low < -0.05
    effect = effect_of(pairs, "at", component="rule", site="toy", seed=0)
    assert effect.values["p/2"] == pytest.approx(np.mean([0.0, 0.0]))
    assert effect.estimate.value == pytest.approx(-0.05)


def test_the_two_kinds_are_told_apart_by_the_size_of_the_change() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.random((2, 40)) * [[0.3], [1.0]]
    sides = [
        [pair(n % 20, 0.5, 0.5 - size) for n, size in enumerate(side.tolist())] for side in sizes
    ]
    found = separation(sides[1], sides[0], "at", seed=0)
    labels = np.repeat([0, 1], 40)
    assert found.auroc is not None and found.difference is not None
    assert found.auroc.value == pytest.approx(roc_auc_score(labels, sizes.ravel()))
    pooled = np.sqrt(sizes.var(axis=1, ddof=1).mean())
    expected = (sizes[1].mean() - sizes[0].mean()) / pooled
    assert found.difference.value == pytest.approx(expected)
    assert separation(sides[1][:2], sides[0], "at", seed=0).auroc is None
