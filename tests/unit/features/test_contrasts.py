import numpy as np
import pytest

from rewardscope.features.contexts import ShownFirings
from rewardscope.features.examples import Contrast, StepEndSums, contrast
from rewardscope.storage.rows import RIGHT, RowTable
from tests.act_files import as_table
from tests.unit.sae.planted import STEP_TAG, make_rows


def planted_rewards(*, n_problems: int, lift: float, seed: int) -> tuple[RowTable, np.ndarray]:
    """Return step ends whose score is higher by `lift` where feature 0 fires, which it does in half
    of them, and whether it does.
    """
    rng = np.random.default_rng(seed)
    n_steps = 6
    rows, sequences = make_rows(
        [["a", STEP_TAG] * n_steps] * n_problems,
        every_token=False,
        correct=[i % 2 == 0 for i in range(n_problems)],
    )
    fires = rng.random(len(rows)) < 0.5
    problem_effect = np.repeat(rng.normal(0, 0.2, size=n_problems), n_steps)
    scores = 0.3 + lift * fires + problem_effect + rng.normal(0, 0.1, size=len(rows))
    scored = [row._replace(reward=float(score)) for row, score in zip(rows, scores, strict=True)]
    return as_table(scored, sequences), fires


def contrast_of(
    table: RowTable, fires_N: np.ndarray, value_N: np.ndarray, *, place: int
) -> Contrast:
    """Return the contrast of a feature, 0 or 1, of which 0 fires; the rows come in two parts."""
    sums = StepEndSums(2, len(table.problems))
    for start, stop in ((0, 10), (10, len(table))):
        rows = np.flatnonzero(fires_N[start:stop])
        firings = ShownFirings(np.zeros(len(rows), dtype=np.int64), rows, np.ones(len(rows)))
        part = table.part(start, stop)
        sums.add(firings, value_N[start:stop], part.step_end_N, part.problem_N)
    return contrast(sums.of(place))


def test_the_reward_contrast_is_the_difference_of_means_with_an_interval_that_covers() -> None:
    covered = 0
    for seed in range(40):
        table, fires_N = planted_rewards(n_problems=30, lift=0.2, seed=seed)
        found = contrast_of(table, fires_N, table.reward_N, place=0)
        difference = table.reward_N[fires_N].mean() - table.reward_N[~fires_N].mean()
        assert found.difference is not None
        assert found.difference.value == pytest.approx(float(difference), rel=1e-4)
        assert (found.n_fires, found.n_elsewhere, found.difference.n) == (
            fires_N.sum(),
            (~fires_N).sum(),
            30,
        )
        covered += found.difference.low <= 0.2 <= found.difference.high
    assert covered >= 34  # 95 % of 40 is 38, its binomial deviation 1.4


def test_a_contrast_of_few_problems_has_means_but_no_interval() -> None:
    table, fires_N = planted_rewards(n_problems=5, lift=0.2, seed=0)
    found = contrast_of(table, fires_N, table.reward_N, place=0)
    assert found.difference is None
    assert found.fires is not None and found.elsewhere is not None
    silent = contrast_of(table, fires_N, table.reward_N, place=1)
    assert (silent.fires, silent.difference, silent.n_fires) == (None, None, 0)


def test_right_traces_are_counted_over_the_step_ends_whose_grade_is_known() -> None:
    table, fires_N = planted_rewards(n_problems=30, lift=0.0, seed=3)
    right_N = (table.correct_N == RIGHT).astype(float)
    found = contrast_of(table, fires_N, right_N, place=0)
    # every other problem is right by construction
    expected = np.array([int(problem.split("/")[1]) % 2 == 0 for problem in table.problems])
    assert found.fires == pytest.approx(expected[table.problem_N][fires_N].mean())
