"""The streamed logistic probe against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from rewardscope.errors import ConfigError
from rewardscope.probes.fit import add_up, fit_probe
from rewardscope.probes.linreg import LinearProbe
from rewardscope.probes.logistic import warm_start


def make_rows(
    n: int = 600, width: int = 12, *, strength: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    acts = rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) + 50
    linear = strength * (acts - 50) @ rng.normal(size=width) / width - 1
    return acts.astype(np.float32), (rng.random(n) < 1 / (1 + np.exp(-linear))).astype(np.float64)


def fit(
    acts: np.ndarray,
    classes: np.ndarray,
    penalties: tuple[float, ...],
    *,
    rows: int = 100,
    folds: int = 1,
) -> LinearProbe:
    blocks = np.split(acts, range(rows, len(acts), rows))
    fold = np.arange(len(acts)) % folds
    return fit_probe(
        lambda: iter(blocks), classes, fold, folds=folds, penalties=penalties, classes=True
    )


@pytest.mark.parametrize("ridge", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("strength", [1.0, 30.0])
def test_weights_and_probabilities_are_those_of_sklearn(ridge: float, strength: float) -> None:
    acts, classes = make_rows(strength=strength)
    probe = fit(acts, classes, (ridge,))
    scaler = StandardScaler().fit(acts.astype(np.float64))
    scaled = scaler.transform(acts.astype(np.float64))
    reference = LogisticRegression(
        C=1 / ridge, tol=1e-12, max_iter=1000, solver="newton-cholesky"
    ).fit(scaled, classes)
    np.testing.assert_allclose(probe.weights, reference.coef_[0], atol=1e-5, rtol=1e-5)
    assert probe.intercept == pytest.approx(reference.intercept_[0], abs=1e-5)
    np.testing.assert_allclose(
        probe.predict(acts), reference.predict_proba(scaled)[:, 1], atol=1e-5
    )


def test_classes_that_part_completely_need_a_penalty() -> None:
    acts, _ = make_rows()
    classes = (acts[:, 0] > acts[:, 0].mean()).astype(np.float64)
    assert np.all((fit(acts, classes, (1e-3,)).predict(acts) > 0.5) == (classes > 0.5))
    with pytest.raises(ConfigError, match="pass a larger --ridge"):
        fit(acts, classes, (0.0,))


def test_the_start_is_a_newton_step_from_the_intercept_alone_for_each_target() -> None:
    acts, classes = make_rows()
    targets = np.stack([classes, acts[:, 0] > 51], axis=1).astype(np.float64)
    starts = warm_start(
        add_up(lambda: iter([acts]), targets, np.zeros(len(acts), dtype=int), folds=1), [3.0]
    )
    scaled = StandardScaler().fit_transform(acts.astype(np.float64))
    for start, target, share in zip(starts, targets.T, targets.mean(axis=0), strict=True):
        hessian = share * (1 - share) * scaled.T @ scaled + 3.0 * np.eye(acts.shape[1])
        np.testing.assert_allclose(
            start.weights, np.linalg.solve(hessian, scaled.T @ (target - share)), rtol=1e-8
        )
        assert start.intercept == pytest.approx(np.log(share / (1 - share)))
        assert start.ridge == 3.0


def test_noise_gets_a_larger_penalty_than_a_clear_signal() -> None:
    acts, classes = make_rows(strength=5.0)
    path = (0.01, 1.0, 100.0, 10_000.0)
    noise = np.random.default_rng(1).permutation(classes)
    assert fit(acts, classes, path, folds=5).ridge < fit(acts, noise, path, folds=5).ridge
