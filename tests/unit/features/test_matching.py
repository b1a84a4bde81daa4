"""Random features that are like given ones."""

import numpy as np
import pytest

from rewardscope.features.matching import FeatureFacts, matched_sets

F = 400


@pytest.fixture(scope="module")
def facts() -> FeatureFacts:
    rng = np.random.default_rng(0)
    rate_F = np.exp(rng.normal(-4, 1, F))
    rate_F[-5:] = 0  # these fire nowhere
    return FeatureFacts(
        rate_F=rate_F,
        norm_F=np.ones(F),
        length_F=np.exp(rng.normal(0, 1, F)),
        category_F=np.arange(F) % 3,
    )


def test_controls_of_one_feature_are_the_nearest_of_its_category(facts: FeatureFacts) -> None:
    found = matched_sets(facts, [7], excluded=[7, 10], n_draws=12, seed=0)
    others = [one for (one,) in found]
    assert len(set(others)) == 12 and not {7, 10} & set(others)
    assert set(facts.category_F[others].tolist()) == {1}
    # in every respect nearer than a random feature of the category is
    for fact_F in (facts.rate_F, facts.length_F):
        apart = np.abs(np.log(fact_F[:-5]) - np.log(fact_F[7]))
        assert apart[others].mean() < 0.5 * apart[1::3].mean()
    assert found == matched_sets(facts, [7], excluded=[7, 10], n_draws=12, seed=0)
    assert found != matched_sets(facts, [7], excluded=[7, 10], n_draws=12, seed=1)


def test_sets_have_as_many_members_and_no_chosen_one(facts: FeatureFacts) -> None:
    wanted = list(range(0, 60, 2))
    found = matched_sets(facts, wanted, excluded=wanted, n_draws=10, seed=0)
    assert len(found) == 10 and {len(one) for one in found} == {30}
    assert not {feature for one in found for feature in one} & {*wanted, *range(F - 5, F)}
    counts = np.bincount(facts.category_F[wanted], minlength=3)
    for one in found:
        assert np.bincount(facts.category_F[list(one)], minlength=3).tolist() == counts.tolist()
    means = [np.log(facts.rate_F[list(one)]).mean() for one in found]
    assert np.mean(means) == pytest.approx(np.log(facts.rate_F[wanted]).mean(), abs=0.15)


def test_where_too_few_are_left_there_are_no_controls(facts: FeatureFacts) -> None:
    assert matched_sets(facts, range(300), excluded=range(300), n_draws=5, seed=0) == []
    assert matched_sets(facts, [0], excluded=[0], n_draws=0, seed=0) == []
    half = range(197)
    found = matched_sets(facts, half, excluded=half, n_draws=3, seed=0)
    assert {len(one) for one in found} == {197}
