"""What scores are good for before and after a change, against sklearn and hand computation."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from rewardscope.interventions.against import against_controls
from rewardscope.interventions.outcomes import Known, Outcomes, middle_of

N = 24  # solutions, two of each problem


@pytest.fixture(scope="module")
def known() -> list[Known]:
    rng = np.random.default_rng(0)
    return [
        Known(f"p/{n // 2}", tuple(rng.integers(-1, 2, size=3).tolist()), bool(n % 2))
        for n in range(N)
    ]


def scores(seed: int) -> list[tuple[float, ...]]:
    return [tuple(row) for row in np.random.default_rng(seed).random((N, 3)).tolist()]


def outcomes(known: list[Known], original: list[tuple[float, ...]]) -> Outcomes:
    return Outcomes(known, original, threshold=0.5, aggregate=lambda s: s[-1], seed=0)


def test_every_measure_is_the_difference_of_its_values(known: list[Known]) -> None:
    before, after = scores(1), scores(2)
    found = outcomes(known, before)
    changes = found.changes(after)
    old, new = np.array(before), np.array(after)
    per_problem = (new - old).reshape(N // 2, 6)
    assert changes["score"].value == pytest.approx(per_problem.mean())
    assert changes["size"].value == pytest.approx(np.abs(per_problem).mean())
    assert list(found.by_problem(after).values()) == pytest.approx(per_problem.mean(axis=1))
    right = np.concatenate([one.right for one in known])
    old, new = old.ravel(), new.ravel()
    aurocs = [roc_auc_score(right[right >= 0], s[right >= 0]) for s in (old, new)]
    assert changes["auroc"].value == pytest.approx(aurocs[1] - aurocs[0])
    wrong_taken = [(s[right == 0] > 0.5).mean() for s in (old, new)]
    right_missed = [(s[right == 1] <= 0.5).mean() for s in (old, new)]
    assert changes["false_negative"].value == pytest.approx(wrong_taken[1] - wrong_taken[0])
    assert changes["false_positive"].value == pytest.approx(right_missed[1] - right_missed[0])
    chosen = [
        np.mean([one[2 * p + 1][-1] > one[2 * p][-1] for p in range(N // 2)])
        for one in (before, after)
    ]
    assert changes["choice"].value == pytest.approx(chosen[1] - chosen[0])
    originals = found.original()
    assert originals["auroc"].value == pytest.approx(aurocs[0])
    assert originals["choice"].value == pytest.approx(chosen[0])
    assert originals["false_negative"].value == pytest.approx(wrong_taken[0])
    for measure, change in changes.items():
        estimate = found.estimate(measure, change, seed=0)
        assert estimate.value == pytest.approx(change.value)
        assert estimate.low is not None and estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high


def test_scores_that_stay_change_nothing_at_all(known: list[Known]) -> None:
    before = scores(1)
    assert {change.value for change in outcomes(known, before).changes(before).values()} == {0.0}


def test_equally_good_traces_share_the_choice_and_labels_say_what_can_be_measured() -> None:
    two = [Known("p/0", (1,), True), Known("p/0", (1,), False), Known("p/1", (1,), None)]
    found = outcomes(two, [(0.7,), (0.7,), (0.2,)])
    assert found.measures == ("score", "size", "false_positive", "choice")
    assert found.original()["choice"].value == 0.5
    assert found.changes([(0.7,), (0.1,), (0.2,)])["choice"].value == 0.5
    assert outcomes(two[2:], [(0.2,)]).measures == ("score", "size", "false_positive")
    assert middle_of((-1.0, 1.0)) == 0.0 and middle_of((0.0, 1.0)) == 0.5


def test_a_change_stands_beside_its_controls(known: list[Known]) -> None:
    before, rng = scores(1), np.random.default_rng(3)

    def moved(by: float) -> list[tuple[float, ...]]:
        return [tuple(s + by + 0.02 * rng.standard_normal() for s in row) for row in before]

    found = outcomes(known, before)
    own = {name: found.changes(moved(by))["score"] for name, by in (("big", 0.3), ("small", 0.01))}
    controls = {
        name: [found.changes(moved(by))["score"] for by in np.linspace(-0.05, 0.05, 19)]
        for name in own
    }
    both = against_controls(found, "score", own, controls, seed=0)
    big, small = both["big"], both["small"]
    assert big.chance == big.chance_of_many == 1 / 20
    assert small.chance is not None and small.chance > 0.5
    assert big.control is not None and big.margin is not None
    assert big.margin.value == pytest.approx(big.change.value - big.control)
    assert big.control_low is not None and big.control_high is not None
    assert -0.06 < big.control_low < big.control_high < 0.06
    alone = against_controls(found, "score", {"big": own["big"]}, controls, seed=0)["big"]
    assert alone.margin is not None and alone.margin.low is not None
    assert big.margin.low is not None and big.margin.low <= alone.margin.low
    none = against_controls(found, "score", own, {}, seed=0)["big"]
    assert (none.n_controls, none.margin, none.chance) == (0, None, None)
