"""The closed-form probe against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.probes.linreg import LinearProbe, fit_ridge, read_probe, write_probe


def chunks(acts_ND: torch.Tensor, target_N: torch.Tensor, *, rows: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(acts_ND.split(rows), target_N.split(rows), strict=True))


def make_rows(n: int, width: int, *, seed: int = 0, noise: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return states with columns of very different mean and spread, and a noisy linear target."""
    rng = torch.Generator().manual_seed(seed)
    spread = torch.logspace(-3, 3, width)
    acts = torch.randn(n, width, generator=rng) * spread + 100 * spread * torch.randn(width, generator=torch.Generator().manual_seed(9))
    target = (acts / spread) @ torch.ones(width) / width + noise * torch.randn(n, generator=rng)
    return acts, target


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("rows", [7, 64, 500])
def test_weights_and_predictions_are_those_of_sklearn_ridge(ridge: float, rows: int) -> None:
    (acts, target), (unseen, _) = make_rows(300, 20), make_rows(40, 20, seed=1)
    probe = fit_ridge(chunks(acts, target, rows=rows), ridge=ridge)
    reference = make_pipeline(StandardScaler(), Ridge(alpha=ridge, solver="cholesky")).fit(acts.double().numpy(), target.double().numpy())
    np.testing.assert_allclose(probe.weights.numpy(), reference[-1].coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(probe.predict(unseen).numpy(), reference.predict(unseen.double().numpy()), rtol=1e-6, atol=1e-6)


def test_without_a_penalty_it_is_ordinary_least_squares() -> None:
    acts, target = make_rows(300, 20)
    probe = fit_ridge(chunks(acts, target, rows=50), ridge=0.0)
    # LinearRegression drops directions below 1e-6 of the largest, so its columns are brought to one scale.
    reference = make_pipeline(StandardScaler(), LinearRegression()).fit(acts.double().numpy(), target.double().numpy())
    np.testing.assert_allclose(probe.predict(acts).numpy(), reference.predict(acts.double().numpy()), rtol=1e-6, atol=1e-6)


def test_more_columns_than_rows_are_solved_as_sklearn_does() -> None:
    (acts, target), (unseen, _) = make_rows(30, 80), make_rows(10, 80, seed=1)
    probe = fit_ridge(chunks(acts, target, rows=8), ridge=1.0)
    reference = make_pipeline(StandardScaler(), Ridge(alpha=1.0, solver="svd")).fit(acts.double().numpy(), target.double().numpy())
    np.testing.assert_allclose(probe.predict(unseen).numpy(), reference.predict(unseen.double().numpy()), rtol=1e-6, atol=1e-6)


def test_a_column_whose_mean_is_far_above_its_spread_is_not_lost() -> None:
    rng = torch.Generator().manual_seed(0)
    signal = torch.randint(0, 2, (400,), generator=rng).float()
    acts = torch.stack([30_000 + signal / 16, torch.randn(400, generator=rng)], dim=1)  # exact in float32
    probe = fit_ridge(chunks(acts, signal, rows=40), ridge=1e-6)
    np.testing.assert_allclose(probe.predict(acts).numpy(), signal.numpy(), atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 7777.7])
def test_a_constant_column_gets_no_weight(constant: float) -> None:
    acts, target = make_rows(100, 4)
    acts[:, 2] = constant
    probe = fit_ridge(chunks(acts, target, rows=9), ridge=1.0)
    assert probe.scale[2] == 1 and abs(float(probe.weights[2])) < 1e-9
    acts[:, 2] += 1  # an unseen value of it moves nothing
    np.testing.assert_allclose(
        probe.predict(acts).numpy(), fit_ridge(chunks(acts, target, rows=9), ridge=1.0).predict(acts).numpy(), atol=1e-6
    )


def test_chunks_without_rows_change_nothing() -> None:
    acts, target = make_rows(60, 5)
    whole = fit_ridge([(acts, target)], ridge=1.0)
    parted = fit_ridge([(acts[:0], target[:0]), (acts, target), (acts[:0], target[:0])], ridge=1.0)
    assert torch.equal(whole.weights, parted.weights)


def test_dependent_columns_without_a_penalty_ask_for_one() -> None:
    acts, target = make_rows(60, 5)
    with pytest.raises(ConfigError, match="pass a larger --ridge"):
        fit_ridge([(torch.cat([acts, acts], dim=1), target)], ridge=0.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_states_that_are_not_finite_are_refused(bad: float) -> None:
    acts, target = make_rows(60, 5)
    acts[3, 1] = bad
    with pytest.raises(BadRecord, match="NaN or infinite"):
        fit_ridge(chunks(acts, target, rows=20), ridge=1.0)


def test_a_probe_is_read_back_exactly_and_only_under_its_key(tmp_path: Path) -> None:
    probe = fit_ridge([make_rows(60, 5)], ridge=1.0)
    path = tmp_path / "layer_03.npz"
    assert read_probe(path) is None
    write_probe(path, probe, key="a")
    for read in (read_probe(path), read_probe(path, key="a")):
        assert isinstance(read, LinearProbe) and read.intercept == probe.intercept
        assert torch.equal(read.weights, probe.weights) and torch.equal(read.mean, probe.mean) and torch.equal(read.scale, probe.scale)
    assert read_probe(path, key="b") is None
