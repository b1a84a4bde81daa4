"""What each control takes out of features that differ by design, and that nothing is found where
there is nothing.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from rewardscope.features.contrast import Sides, compare_all, describe, verdicts
from rewardscope.features.controls import NONE
from rewardscope.features.diff import Comparison
from rewardscope.features.diff_table import CONTROLS
from rewardscope.features.firing_buckets import FiringBuckets
from tests.unit.features.planted_contrast import (
    ALIKE,
    BY_POSITION,
    BY_TOKEN,
    GENUINE,
    N_FEATURES,
    open_sides,
    planted_sides,
)

DIFFER = [*BY_TOKEN, *BY_POSITION, *GENUINE]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sides, list[FiringBuckets]]]:
    folder = tmp_path_factory.mktemp("planted")
    data = planted_sides(folder, differ=True, n_problems=60, seed=0)
    with open_sides(data, folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def compared(made: tuple[Sides, list[FiringBuckets]]) -> dict[str, Comparison]:
    sides, files = made
    return compare_all(sides, files, sides.side_2P, n_features=N_FEATURES, n_resamples=200)


def found(compared: Mapping[str, Comparison], control: str) -> set[int]:
    """Return the features that still favour reasoning."""
    return set(
        np.flatnonzero(verdicts(compared, fdr=0.05, min_log2_ratio=0.3)[control] > 0).tolist()
    )


def test_without_a_control_all_features_that_differ_are_found(
    compared: dict[str, Comparison],
) -> None:
    assert found(compared, NONE) >= set(DIFFER)
    # 5 % of what is found may be false
    assert len(found(compared, NONE) & set(ALIKE)) <= 4


@pytest.mark.parametrize(
    ("control", "removed"),
    [("token", {*BY_TOKEN}), ("position", {*BY_POSITION}), ("all", {*BY_TOKEN, *BY_POSITION})],
)
def test_a_control_removes_its_own_features_and_no_other(
    compared: dict[str, Comparison], control: str, removed: set[int]
) -> None:
    left = found(compared, control)
    assert len(left & removed) <= 2  # 5 % of 30, rounded up
    if control != "all":  # of whose rows few are left
        assert left >= set(DIFFER) - removed
    else:
        assert len(left & set(GENUINE)) >= 8


def test_the_controlled_difference_of_a_genuine_feature_is_the_planted_one(
    compared: dict[str, Comparison],
) -> None:
    plain = compared["solved"]
    for name in ("token", "position", "shared"):
        one = compared[name]
        inside = (one.low_F <= compared[NONE].difference_F) & (
            compared[NONE].difference_F <= one.high_F
        )
        assert inside[list(GENUINE)].all()
    assert plain.difference_F[list(GENUINE)].min() > 0


def test_where_sides_are_alike_no_control_finds_anything(tmp_path: Path) -> None:
    """Over 20 draws: the share of q values below 0.05, and p values that are uniform."""
    significant = dict.fromkeys((NONE, *CONTROLS), 0)
    below = dict.fromkeys((NONE, *CONTROLS), 0)
    data = planted_sides(tmp_path, differ=False, n_problems=40, seed=5)
    with open_sides(data, tmp_path) as (sides, files):
        for seed in range(20):
            side_2P = sides.flipped(np.random.default_rng(seed))
            for name, one in compare_all(sides, files, side_2P, n_features=N_FEATURES).items():
                significant[name] += int((one.q_F < 0.05).sum())
                below[name] += int((one.p_F < 0.05).sum())
    for name in significant:
        assert significant[name] / (20 * N_FEATURES) <= 0.05
        # 5 % of 2000 tests is 100; features of one draw share its problems
        assert below[name] / (20 * N_FEATURES) <= 0.08, name


def test_rows_that_a_control_keeps_are_said(made: tuple[Sides, list[FiringBuckets]]) -> None:
    sides, _ = made
    kept = {m.control.name: m.kept for m in sides.matchings}
    assert kept[NONE] == (1.0, 1.0) == kept["token"]
    assert 0 < kept["solved"][0] < 0.9 and 0 < kept["all"][1] < kept["solved"][1] + 1e-9


def test_the_mean_activation_and_auroc_are_those_of_traces(
    made: tuple[Sides, list[FiringBuckets]],
) -> None:
    sides, files = made
    seen = describe(sides, files, n_features=N_FEATURES)
    assert seen.auroc.value_F[list(GENUINE)].min() > 0.8
    alike = seen.auroc.value_F[list(ALIKE)]
    assert alike.mean() == pytest.approx(0.5, abs=0.1)
    assert seen.mass_share_FC.sum(axis=1) == pytest.approx(np.ones(N_FEATURES))
    assert np.isfinite(seen.reason_F).all()
