"""The closed-form probe against scikit-learn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.probes.fit import add_up
from rewardscope.probes.linreg import (
    LinearProbe,
    fit_ridge,
    held_out_errors,
    predict_all,
    read_probes,
    write_probes,
)
from rewardscope.probes.moments import Sums

RIDGES = (1e-3, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)


def fold_sums(
    acts_ND: np.ndarray, target_N: np.ndarray, *, rows: int = 64, fold_N: np.ndarray | None = None
) -> list[Sums]:
    """Add rows up in blocks of `rows`; without folds, all are of one."""
    fold_N = np.zeros(len(acts_ND), dtype=int) if fold_N is None else fold_N
    blocks = np.split(acts_ND, range(rows, len(acts_ND), rows))
    return add_up(lambda: iter(blocks), target_N[:, None], fold_N, folds=int(fold_N.max()) + 1)


def fit_one(folds: list[Sums], ridges: Sequence[float]) -> LinearProbe:
    """Fit to sums with one target."""
    (probe,) = fit_ridge(folds, ridges)
    return probe


def sklearn_ridge(ridge: float, solver: str = "cholesky") -> Pipeline:
    return make_pipeline(StandardScaler(), Ridge(alpha=ridge, solver=solver))


def make_rows(
    n: int, width: int, *, seed: int = 0, noise: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return states with columns of very different mean and spread, and a noisy linear target."""
    rng = np.random.default_rng(seed)
    spread = np.logspace(-3, 3, width)
    acts = rng.normal(size=(n, width)) * spread + 100 * spread * np.random.default_rng(9).normal(
        size=width
    )
    target = (acts / spread) @ np.ones(width) / width + noise * rng.normal(size=n)
    return acts.astype(np.float32), target


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("rows", [7, 64, 1500])
def test_weights_and_predictions_are_those_of_sklearn_ridge(ridge: float, rows: int) -> None:
    (acts, target), (unseen, _) = make_rows(2500, 20), make_rows(40, 20, seed=1)
    probe = fit_one(fold_sums(acts, target, rows=rows), [ridge])
    reference = sklearn_ridge(ridge).fit(acts.astype(np.float64), target)
    np.testing.assert_allclose(probe.weights, reference[-1].coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        probe.predict(unseen), reference.predict(unseen.astype(np.float64)), rtol=1e-6, atol=1e-6
    )


def test_the_penalty_is_the_one_that_sklearn_finds_over_the_same_folds() -> None:
    acts, target = make_rows(300, 60, noise=3.0)
    fold = np.random.default_rng(3).integers(5, size=300)
    sums, errors = fold_sums(acts, target, fold_N=fold), []
    for ridge in RIDGES:
        folds = PredefinedSplit(fold)
        predicted = cross_val_predict(
            sklearn_ridge(ridge), acts.astype(np.float64), target, cv=folds
        )
        errors.append(float(np.sum((target - predicted) ** 2)))
    np.testing.assert_allclose(held_out_errors(sums, np.array([RIDGES]))[0], errors, rtol=1e-6)
    best = RIDGES[int(np.argmin(errors))]
    assert best not in (RIDGES[0], RIDGES[-1])  # else the choice would show nothing
    probe = fit_one(sums, RIDGES)
    assert probe.ridge == best
    np.testing.assert_allclose(
        probe.weights,
        sklearn_ridge(best).fit(acts.astype(np.float64), target)[-1].coef_,
        rtol=1e-6,
        atol=1e-8,
    )


def test_rows_outside_every_fold_change_nothing() -> None:
    acts, target = make_rows(120, 5)
    fold = np.arange(120) % 3 - 1
    kept = fold >= 0
    with_others, alone = (
        fold_sums(acts, target, fold_N=fold),
        fold_sums(acts[kept], target[kept], fold_N=fold[kept]),
    )
    np.testing.assert_allclose(
        fit_one(with_others, [1.0]).weights, fit_one(alone, [1.0]).weights, rtol=1e-9
    )


def test_projected_sums_are_the_sums_of_projected_rows() -> None:
    acts, target = make_rows(200, 10)
    sums = fold_sums(acts, target)[0]
    basis = np.random.default_rng(2).normal(size=(10, 3)) / np.logspace(-3, 3, 10)[:, None]
    projected = fit_one([sums.projected(basis)], [2.0])
    rows = (acts - sums.shift_E[:10]) @ basis
    np.testing.assert_allclose(
        projected.predict(rows), sklearn_ridge(2.0).fit(rows, target).predict(rows), atol=1e-8
    )


def test_several_targets_are_fitted_from_one_pass_each_with_its_own_penalty() -> None:
    acts, target = make_rows(300, 60, noise=3.0)
    targets = np.stack([target, np.random.default_rng(5).normal(size=300), 100 + target**2], axis=1)
    fold = np.random.default_rng(3).integers(5, size=300)
    together = fit_ridge(add_up(lambda: iter([acts]), targets, fold, folds=5), RIDGES)
    alone = [fit_one(fold_sums(acts, column, fold_N=fold), RIDGES) for column in targets.T]
    assert [probe.ridge for probe in together] == [probe.ridge for probe in alone]
    assert len({probe.ridge for probe in alone}) > 1
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.predict(acts), other.predict(acts), rtol=1e-8)


def test_without_a_penalty_it_is_ordinary_least_squares() -> None:
    acts, target = make_rows(300, 20)
    probe = fit_one(fold_sums(acts, target), [0.0])
    # LinearRegression drops directions below 1e-6 of the largest, so its columns are brought to one
    # scale.
    reference = make_pipeline(StandardScaler(), LinearRegression()).fit(
        acts.astype(np.float64), target
    )
    np.testing.assert_allclose(
        probe.predict(acts), reference.predict(acts.astype(np.float64)), rtol=1e-6, atol=1e-6
    )


def test_more_columns_than_rows_are_solved_as_sklearn_does() -> None:
    (acts, target), (unseen, _) = make_rows(30, 80), make_rows(10, 80, seed=1)
    probe = fit_one(fold_sums(acts, target, rows=8), [1.0])
    reference = sklearn_ridge(1.0, "svd").fit(acts.astype(np.float64), target)
    np.testing.assert_allclose(
        probe.predict(unseen), reference.predict(unseen.astype(np.float64)), rtol=1e-6, atol=1e-6
    )


def test_a_column_whose_mean_is_far_above_its_spread_is_not_lost() -> None:
    rng = np.random.default_rng(0)
    signal = rng.integers(0, 2, size=4000).astype(np.float32)
    # exact in float32
    acts = np.stack([30_000 + signal / 16, rng.normal(size=4000)], axis=1).astype(np.float32)
    probe = fit_one(fold_sums(acts, signal, rows=40), [1e-6])
    np.testing.assert_allclose(probe.predict(acts), signal, atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 7777.7])
def test_a_constant_column_gets_no_weight(constant: float) -> None:
    acts, target = make_rows(3000, 4)
    acts[:, 2] = constant
    probe = fit_one(fold_sums(acts, target, rows=9), [1.0])
    assert probe.scale[2] == 1 and abs(float(probe.weights[2])) < 1e-9
    unseen = acts + np.array([0, 0, 1, 0], dtype=np.float32)  # an unseen value of it moves nothing
    np.testing.assert_allclose(probe.predict(unseen), probe.predict(acts), atol=1e-6)


def test_dependent_columns_without_a_penalty_ask_for_one() -> None:
    acts, target = make_rows(60, 5)
    with pytest.raises(ConfigError, match="pass a larger --ridge"):
        fit_one(fold_sums(np.concatenate([acts, acts], axis=1), target), [0.0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_states_that_are_not_finite_are_refused(bad: float) -> None:
    acts, target = make_rows(60, 5)
    acts[3, 1] = bad
    with pytest.raises(BadRecord, match="NaN or infinite"):
        fold_sums(acts, target, rows=20)


def test_probes_are_read_back_exactly_and_only_under_their_key(tmp_path: Path) -> None:
    probe = fit_one(fold_sums(*make_rows(60, 5)), [1.0])
    probes = {
        "states": probe,
        "other": probe._replace(weights=probe.weights * 2, intercept=0.5, ridge=3.0),
    }
    path = tmp_path / "layer_03.npz"
    assert read_probes(path) is None
    write_probes(path, probes, key="a")
    for read in (read_probes(path), read_probes(path, key="a")):
        assert read is not None and list(read) == ["states", "other"]
        for name, expected in probes.items():
            assert (read[name].intercept, read[name].ridge, read[name].link) == (
                expected.intercept,
                expected.ridge,
                "identity",
            )
            assert all(
                np.array_equal(getattr(read[name], field), getattr(expected, field))
                for field in ("weights", "mean", "scale")
            )
    assert read_probes(path, key="b") is None


def test_probes_predict_together_as_alone() -> None:
    acts, target = make_rows(60, 5)
    probe = fit_one(fold_sums(acts, target), [1.0])
    chance, elsewhere = (
        probe._replace(weights=-probe.weights, link="logit"),
        fit_one(fold_sums(2 * acts[:30] + 5, target[:30]), [1.0]),
    )
    together = predict_all([probe, chance, elsewhere], acts)
    np.testing.assert_allclose(
        together, np.stack([p.predict(acts) for p in (probe, chance, elsewhere)], axis=1), atol=1e-9
    )
    by_hand = [
        p.intercept + (acts - p.mean) / p.scale @ p.weights for p in (probe, chance, elsewhere)
    ]
    np.testing.assert_allclose(
        together[:, [0, 2]], np.stack([by_hand[0], by_hand[2]], axis=1), atol=1e-9
    )
    np.testing.assert_allclose(together[:, 1], 1 / (1 + np.exp(-by_hand[1])), atol=1e-9)
