"""Baselines that stay at, or near, their random start: arXiv 2602.14111."""

from typing import get_args

import pytest
import torch

from rewardscope.sae.train.activations import ActivationName
from rewardscope.sae.train.freeze import Freeze, FreezeName, pull_back
from rewardscope.sae.train.ranks import OneProcess
from rewardscope.sae.train.sparse import TorchKernels
from rewardscope.sae.train.trainer import Shape, Trainer
from tests.unit.sae.dense import ALPHA, dense_loss, make_layer, make_rule, rows
from tests.unit.sae.test_train import N_FEATURES, K, batch, exported, left_of, options, trained

ACTIVATIONS: tuple[ActivationName, ...] = get_args(ActivationName)
KINDS: tuple[FreezeName, ...] = ("decoder", "soft-decoder", "encoder")
SHAPE = {0: Shape(N_FEATURES, K)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_stays_to_the_bit_and_the_rest_still_learns(
    kind: FreezeName, activation: ActivationName
) -> None:
    changes = {"freeze": Freeze(kind), "activation": activation, "shapes": SHAPE, "dead_after": 500}
    start = Trainer(batch(2000, seed=0), options(**changes))
    trainer = trained(60, **(changes | {"n_steps": 60}))
    before, after = start.layers[0], trainer.layers[0]
    moved = {
        name: not torch.equal(tensor, getattr(before, name, before.extra.get(name)))
        for name, tensor in after.tensors().items()
        if name.endswith(("_FD", "_D", "enc_F", "threshold_F"))
    }
    frozen = {"decoder": {"W_dec_FD"}, "encoder": {"W_enc_FD"}, "soft-decoder": {"start_dec_FD"}}
    assert {name for name, has in moved.items() if not has} == frozen[kind]
    x_ND = batch(1000, seed=12345)[0]
    assert left_of(x_ND, exported(trainer)[0]) < 0.97 * left_of(x_ND, exported(start)[0])


def test_a_soft_frozen_decoder_keeps_its_rows_within_the_cosine_and_needs_to() -> None:
    cosines = {}
    for cosine in (0.95, -1.0):
        freeze = Freeze("soft-decoder", cosine)
        layer = trained(100, freeze=freeze, shapes=SHAPE).layers[0]
        torch.testing.assert_close(layer.W_dec_FD.norm(dim=1), torch.ones(N_FEATURES))
        assert layer.start_dec_FD is not None
        cosines[cosine] = (layer.W_dec_FD * layer.start_dec_FD).sum(dim=1)
    assert cosines[0.95].min() >= 0.95 - 1e-6
    assert cosines[-1.0].min() < 0.9


def test_rows_are_pulled_back_by_the_shortest_way() -> None:
    """In two dimensions: to 0.8 along the x axis, so to 0.6 along the y axis."""
    start_FD = torch.tensor([[1.0, 0.0]] * 4)
    rows_FD = torch.tensor([[0.0, 1.0], [0.6, -0.8], [0.96, 0.28], [1.0, 0.0]])
    pull_back(rows_FD, start_FD, cosine=0.8)
    expected_FD = torch.tensor([[0.8, 0.6], [0.8, -0.6], [0.96, 0.28], [1.0, 0.0]])
    torch.testing.assert_close(rows_FD, expected_FD)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_rest_equal_those_of_the_dense_loss(
    kind: FreezeName, activation: ActivationName
) -> None:
    x_ND, dead, layer = rows(), torch.arange(9), make_layer(activation, freeze=Freeze(kind))
    names = layer.parameters()
    dense = {
        name: tensor.clone().requires_grad_(name in names)
        for name, tensor in layer.tensors().items()
        if tensor.is_floating_point()
    }
    dense_loss(dense, make_rule(activation), x_ND, dead).backward()
    grads, _ = layer.gradients(
        x_ND, dead=dead, alpha=ALPHA, kernels=TorchKernels(), ranks=OneProcess()
    )
    assert set(grads) == set(names)
    for name, gradient in grads.items():
        torch.testing.assert_close(gradient, dense[name].grad, rtol=1e-10, atol=1e-12)


def test_a_baseline_starts_where_the_trained_sae_starts() -> None:
    starts = [
        Trainer(batch(50, seed=0), options(freeze=Freeze(kind), shapes=SHAPE)).layers[0]
        for kind in ("none", *KINDS)
    ]
    for other in starts[1:]:
        assert torch.equal(starts[0].W_dec_FD, other.W_dec_FD)
        assert torch.equal(starts[0].W_enc_FD, other.W_enc_FD)


def test_a_soft_frozen_run_that_goes_on_keeps_its_own_start() -> None:
    freeze = Freeze("soft-decoder", 0.9)
    one = trained(6, freeze=freeze)
    other = Trainer(batch(50, seed=99), options(freeze=freeze, seed=5))
    for layer in one.layers:
        other.load(layer, {name: tensor.clone() for name, tensor in one.tensors(layer).items()})
    other.n_done = one.n_done
    for trainer in (one, other):
        for step in range(6, 12):
            trainer.step(batch(128, seed=step))
    for layer in one.layers:
        for name, tensor in one.tensors(layer).items():
            assert torch.equal(tensor, other.tensors(layer)[name]), name


def test_the_saved_sae_says_what_was_frozen() -> None:
    said = [
        Trainer(batch(50, seed=0), options(freeze=freeze, shapes=SHAPE)).export()[0].info
        for freeze in (Freeze(), Freeze("encoder"), Freeze("soft-decoder", 0.7))
    ]
    assert said == [{}, {"freeze": "encoder"}, {"freeze": "soft-decoder", "freeze_cosine": 0.7}]
