"""Intervals that hold for all at once, and chances that allow for many."""

import numpy as np

from rewardscope.statistics.draws import draw
from rewardscope.statistics.measures import mean
from rewardscope.statistics.simultaneous import chance, chance_of_many, simultaneous


def test_of_many_means_that_are_all_0_about_95_in_100_times_all_intervals_hold() -> None:
    rng, held, held_alone = np.random.default_rng(0), 0, 0
    draws = draw(np.arange(40), seed=0)
    for _ in range(100):
        values = rng.standard_normal((12, 40))
        measured = {str(k): mean(row, draws) for k, row in enumerate(values)}
        both = simultaneous(measured, draws)
        held += all(each.low <= 0 <= each.high for each in both.values())
        held_alone += all(
            each.low <= 0 <= each.high
            for name, one in measured.items()
            for each in simultaneous({name: one}, draws).values()
        )
    assert held >= 90 > 70 >= held_alone


def test_the_chance_of_the_best_of_many_is_against_the_largest_of_each_draw() -> None:
    controls = {"a": [0.1, -0.4, 0.2], "b": [0.3, 0.0, -0.6]}
    assert chance(0.35, controls["a"]) == 2 / 4
    # the largest of each draw: 0.3, 0.4, 0.6
    found = chance_of_many({"a": 0.35, "b": -0.7}, controls)
    assert found == {"a": 3 / 4, "b": 1 / 4}
    assert chance_of_many({}, {}) == {}
