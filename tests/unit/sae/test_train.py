import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rewardscope.sae.measure.quality import QualitySums
from rewardscope.sae.model.inference import Sae
from rewardscope.sae.train.activations import ActivationFlags, ActivationName, activation_of
from rewardscope.sae.train.layer import LayerOptions, LayerSae
from rewardscope.sae.train.optimizer import LayerOptimizer, Schedule
from rewardscope.sae.train.trainer import (
    Shape,
    Trainer,
    TrainOptions,
    auto_lr,
    folded,
    geometric_median,
)
from tests.unit.sae.planted import dictionary, sparse_codes

CPU = torch.device("cpu")
WIDTH, N_TRUE, N_FEATURES, K = 16, 20, 32, 2


NESTED: tuple[ActivationName, ...] = ("topk", "matryoshka")
FLAGS = ActivationFlags(prefixes=(0.25, 0.5, 1.0), bandwidth=0.02)


def options(*, activation: ActivationName = "topk", **changes: Any) -> TrainOptions:
    values: dict[str, Any] = {
        "shapes": {0: Shape(N_FEATURES, K), 3: Shape(N_FEATURES, K)},
        "activation": activation_of(activation, FLAGS),
        "n_steps": 300,
        "lr": 5e-3,
        "warmup": 0.05,
        "decay": 0.2,
        "clip": 0.0,
        "aux_alpha": 1 / 32,
        "k_aux": None,
        "dead_after": 4000,
        "bf16": False,
        "seed": 0,
        "device": CPU,
    }
    return TrainOptions(**(values | changes))


def batch(n: int, seed: int) -> dict[int, Tensor]:
    """Return raw rows of two layers, sparse sums of a planted dictionary each."""
    codes_NF = sparse_codes(n, N_TRUE, k=K, seed=seed)
    return {layer: 5 * (codes_NF @ dictionary(N_TRUE, WIDTH, seed=layer)) + 7.0 for layer in (0, 3)}


def trained(steps: int | None = None, **changes: Any) -> Trainer:
    """Return a trainer after all steps of its options, or after the first `steps`."""
    trainer = Trainer(batch(2000, seed=0), options(**changes))
    for step in range(steps or trainer.options.n_steps):
        trainer.step(batch(128, seed=step))
    return trainer


def exported(trainer: Trainer) -> dict[int, Sae]:
    """Return the SAEs, with thresholds from rows that a run would have trained on."""
    return trainer.export([batch(1000, seed=step) for step in range(4)], n_rows=4000)


@pytest.mark.parametrize("activation", ["topk", "jumprelu"])
def test_training_finds_a_planted_dictionary_at_every_layer(activation: ActivationName) -> None:
    for layer, sae in exported(trained(activation=activation)).items():
        cosine_FF = dictionary(N_TRUE, WIDTH, seed=layer) @ sae.W_dec_FD.T
        assert (cosine_FF.max(dim=1).values > 0.9).float().mean() >= 0.9
        torch.testing.assert_close(sae.W_dec_FD.norm(dim=1), torch.ones(N_FEATURES))


def left_of(x_ND: Tensor, sae: Sae) -> float:
    """Return the fraction of variance unexplained."""
    error_ND = x_ND - sae.reconstruct(x_ND)
    return float(error_ND.square().sum() / (x_ND - x_ND.mean(dim=0)).square().sum())


def active_in(x_ND: Tensor, sae: Sae) -> float:
    return float((sae.encode(x_ND).values_NK > 0).sum() / len(x_ND))


def test_a_threshold_keeps_about_k_features_active_on_new_rows() -> None:
    trainer = trained(activation="jumprelu")
    x_ND, sae = batch(1000, seed=12345)[0], trainer.export()[0]
    assert sae.k is None and sae.activation == "jumprelu"
    assert active_in(x_ND, sae) == pytest.approx(K, rel=0.25)
    assert left_of(x_ND, sae) < 0.15


def test_a_batchtopk_sae_has_k_active_features_on_new_rows_and_loses_nothing_by_its_threshold() -> (
    None
):
    trainer = trained(activation="batchtopk")
    x_ND, sae = batch(4000, seed=12345)[0], exported(trainer)[0]
    assert sae.k is None and sae.activation == "batchtopk"
    assert active_in(x_ND, sae) == pytest.approx(K, rel=0.03)
    pre_NF = (x_ND - sae.b_dec_D) @ sae.W_enc_DF + sae.b_enc_F
    least = pre_NF.flatten().topk(K * len(x_ND)).values[-1]
    by_batch_ND = torch.where(pre_NF >= least, pre_NF, 0.0) @ sae.W_dec_FD + sae.b_dec_D
    variance = (x_ND - x_ND.mean(dim=0)).square().sum()
    assert left_of(x_ND, sae) <= 1.01 * float((x_ND - by_batch_ND).square().sum() / variance)


def test_the_smallest_prefix_of_matryoshka_reconstructs_better_than_that_of_topk() -> None:
    x_ND, left = batch(1000, seed=777)[0], {}
    for activation in NESTED:
        sae = trained(activation=activation, shapes={0: Shape(N_FEATURES, 4)}).export()[0]
        codes = sae.encode(x_ND)
        codes = codes._replace(values_NK=codes.values_NK * (codes.indices_NK < N_FEATURES // 4))
        left[activation] = float(
            (x_ND - sae.decode(codes)).square().sum() / (x_ND - x_ND.mean(dim=0)).square().sum()
        )
    assert left["matryoshka"] < 0.8 * left["topk"]


def test_the_same_seed_trains_the_same_weights_and_another_seed_others() -> None:
    weights = [trained(5, seed=seed).export()[0].W_enc_DF for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_layer_trains_the_same_alone_and_beside_others_of_another_size() -> None:
    together = trained(5, shapes={0: Shape(N_FEATURES, K), 3: Shape(50, 5)})
    alone = trained(5, shapes={3: Shape(50, 5)})
    assert together.export()[3].k == 5
    assert together.export()[3].W_enc_DF.shape == (WIDTH, 50)
    assert torch.equal(together.export()[3].W_enc_DF, alone.export()[3].W_enc_DF)


def test_a_trainer_that_takes_over_the_state_of_another_goes_on_as_it_would_have() -> None:
    for activation in ("batchtopk", "jumprelu"):
        one = trained(6, activation=activation, clip=0.01)
        other = Trainer(batch(50, seed=99), options(activation=activation, clip=0.01, seed=5))
        for layer in one.layers:
            other.load(layer, {name: tensor.clone() for name, tensor in one.tensors(layer).items()})
        other.n_done = one.n_done
        for trainer in (one, other):
            for step in range(6, 9):
                trainer.step(batch(128, seed=step))
        for layer in one.layers:
            for name, tensor in one.tensors(layer).items():
                assert torch.equal(tensor, other.tensors(layer)[name]), name


def test_dead_features_come_back_with_the_auxiliary_loss_and_stay_dead_without() -> None:
    shares = []
    for aux_alpha in (1 / 32, 0.0):
        trainer = Trainer(
            batch(2000, seed=0),
            options(aux_alpha=aux_alpha, dead_after=500, shapes={0: Shape(N_FEATURES, K)}),
        )
        trainer.layers[0].b_enc_F[:16] = -3.0  # half of the features cannot win
        for step in range(150):
            report = trainer.step(batch(128, seed=step))[0]
        shares.append(float(report.dead))
    assert shares[0] < 0.4
    assert shares[1] >= 0.5


def test_the_schedule_rises_stays_and_falls() -> None:
    schedule = Schedule(lr=2.0, n_steps=100, warmup=0.1, decay=0.2)
    assert [schedule.at(step) for step in (0, 4, 9, 50, 79)] == pytest.approx(
        [0.2, 1.0, 2.0, 2.0, 2.0]
    )
    assert [schedule.at(step) for step in (80, 90, 99, 100)] == pytest.approx([2.0, 1.0, 0.1, 0.0])
    flat = Schedule(lr=2.0, n_steps=100, warmup=0.0, decay=0.0)
    assert {flat.at(step) for step in range(100)} == {2.0}


def layer_of(width: int, n_features: int, k: int, *, name: ActivationName = "topk") -> LayerSae:
    flags = ActivationFlags(bandwidth=0.1)
    options = LayerOptions(activation=activation_of(name, flags), k=k, k_aux=0, bf16=False)
    random = torch.Generator().manual_seed(0)
    return LayerSae(width, n_features, options=options, random=random)


def test_the_optimizer_is_adam_on_the_projected_gradient_with_unit_rows() -> None:
    """Two steps by hand, from the formulas of Adam."""
    layer = layer_of(3, 4, 1)
    optimizer = LayerOptimizer(layer, clip=0.0)
    random = torch.Generator().manual_seed(1)
    enc_FD, dec_FD, m, v = layer.W_enc_FD.clone().double(), layer.W_dec_FD.clone().double(), {}, {}
    for step in (1, 2):
        grads = {
            name: torch.randn(tensor.shape, generator=random)
            for name, tensor in layer.parameters().items()
        }
        g = {name: gradient.clone().double() for name, gradient in grads.items()}
        g["W_dec_FD"] -= (g["W_dec_FD"] * dec_FD).sum(1, keepdim=True) * dec_FD
        norm = optimizer.step(grads, lr=0.1)
        assert norm.item() == pytest.approx(
            math.sqrt(sum(float((x**2).sum()) for x in g.values())), rel=1e-5
        )
        for name in ("W_enc_FD", "W_dec_FD"):
            m[name] = 0.9 * m.get(name, 0) + 0.1 * g[name]
            v[name] = 0.999 * v.get(name, 0) + 0.001 * g[name] ** 2
            update = (
                0.1 * (m[name] / (1 - 0.9**step)) / ((v[name] / (1 - 0.999**step)).sqrt() + 1e-8)
            )
            enc_FD, dec_FD = (
                (enc_FD - update, dec_FD) if name == "W_enc_FD" else (enc_FD, dec_FD - update)
            )
        dec_FD /= dec_FD.norm(dim=1, keepdim=True)
        torch.testing.assert_close(layer.W_enc_FD.double(), enc_FD, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.W_dec_FD.double(), dec_FD, rtol=1e-4, atol=1e-5)


def test_clipping_bounds_the_norm_and_leaves_smaller_gradients_alone() -> None:
    given = []
    for clip in (0.5, 1e9, 0.0):
        layer = layer_of(3, 4, 1)
        grads = {name: torch.ones_like(tensor) for name, tensor in layer.parameters().items()}
        LayerOptimizer(layer, clip=clip).step(grads, lr=0.0)
        given.append(math.sqrt(sum(float((gradient**2).sum()) for gradient in grads.values())))
    assert given[0] == pytest.approx(0.5, rel=1e-5)
    assert given[1] == given[2] > 0.5


@pytest.mark.parametrize("activation", ["topk", "jumprelu", "batchtopk"])
def test_folding_the_scale_gives_the_same_reconstruction_of_raw_states(activation: Any) -> None:
    random = torch.Generator().manual_seed(7)
    layer = layer_of(6, 20, 3, name=activation)
    layer.b_enc_F.copy_(torch.randn(20, generator=random))
    layer.b_dec_D.copy_(torch.randn(6, generator=random))
    for tensor in layer.extra.values():
        tensor.copy_(0.3 * torch.randn(len(tensor), generator=random))
    threshold = 0.8 if activation == "batchtopk" else None
    x_ND, scale = 40 * torch.randn(11, 6, generator=random), 0.037
    pre_NF = (scale * x_ND - layer.b_dec_D) @ layer.W_enc_FD.T + layer.b_enc_F
    if activation == "topk":
        kept_NF = torch.zeros_like(pre_NF).scatter(
            1, pre_NF.topk(3).indices, pre_NF.topk(3).values.clamp(min=0)
        )
    else:
        kept_NF = pre_NF * (
            pre_NF > (layer.extra["log_threshold_F"].exp() if activation == "jumprelu" else 0.8)
        )
    expected_ND = (kept_NF @ layer.W_dec_FD + layer.b_dec_D) / scale
    sae = folded(layer, scale, layer=0, threshold=threshold)
    torch.testing.assert_close(sae.decode(sae.encode(x_ND)), expected_ND, rtol=1e-4, atol=1e-4)


def test_the_geometric_median_of_a_line_is_its_middle_point_whatever_the_outlier() -> None:
    x_ND = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [1000.0, 0.0]])
    torch.testing.assert_close(
        geometric_median(x_ND, n_iterations=400), torch.tensor([2.0, 0.0]), atol=0.02, rtol=0
    )


def test_the_learning_rate_follows_the_scaling_law_and_is_larger_for_short_runs() -> None:
    assert auto_lr(2**14, 20_000) == auto_lr(2**14, 10**9) == pytest.approx(2e-4)
    assert auto_lr(2**16, 20_000) == pytest.approx(1e-4)
    assert auto_lr(2**16, 5_000) == pytest.approx(2e-4)
    assert auto_lr(2**16, 1) == pytest.approx(4e-4)
    assert auto_lr(4, 1) == 5e-3


def test_quality_is_the_dense_computation_on_all_rows() -> None:
    sae = folded(layer_of(6, 20, 3), 1.0, layer=0)
    x_ND = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)) + 3
    problem_N = np.repeat(np.arange(10), 5)
    sums = QualitySums(sae, n_problems=12)
    sums.add(x_ND[:20], problem_N[:20])
    sums.add(x_ND[20:], problem_N[20:])
    quality = sums.quality(seed=0)
    codes = sae.encode(x_ND)
    error = float((x_ND - sae.decode(codes)).double().pow(2).sum())
    assert quality.fvu.value == pytest.approx(
        error / float(((x_ND - x_ND.mean(dim=0)) ** 2).double().sum()), rel=1e-5
    )
    assert quality.l0.value == pytest.approx(float((codes.values_NK > 0).sum() / 50))
    assert quality.dead_share.value == 1 - len(codes.indices_NK[codes.values_NK > 0].unique()) / 20
    assert (quality.n_rows, quality.n_problems, quality.fvu.n, quality.dead_share.n) == (
        50,
        10,
        10,
        20,
    )
    assert quality.fvu.low < quality.fvu.value < quality.fvu.high
