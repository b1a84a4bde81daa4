"""The losses of an SAE in training by dense matrices and masks, differentiated by autograd: what
the sparse path is checked against.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rewardscope.sae.train.activations import ActivationFlags, ActivationName, activation_of
from rewardscope.sae.train.freeze import TRAINED_WHOLE, Freeze
from rewardscope.sae.train.layer import LayerOptions, LayerSae

N, D, F, K, K_AUX = 13, 6, 20, 3, 4
ALPHA = 1 / 32


class Rule(NamedTuple):
    """What the dense loss needs to know."""

    activation: str
    prefixes: tuple[int, ...]
    k: int = K
    k_aux: int = K_AUX
    l0_weight: float = 0.7
    bandwidth: float = 0.9


def make_rule(activation: str) -> Rule:
    return Rule(activation, (5, 12, F) if activation == "matryoshka" else (F,))


def make_layer(
    name: ActivationName, *, bf16: bool = False, freeze: Freeze = TRAINED_WHOLE
) -> LayerSae:
    """Return a layer in float64 with random weights; thresholds are above half the bandwidth."""
    random, rule = torch.Generator().manual_seed(3), make_rule(name)
    flags = ActivationFlags(
        prefixes=(5 / F, 12 / F, 1.0),
        l0_weight=rule.l0_weight,
        bandwidth=rule.bandwidth / math.sqrt(D),
    )
    options = LayerOptions(
        activation=activation_of(name, flags), k=K, k_aux=K_AUX, bf16=bf16, freeze=freeze
    )
    layer = LayerSae(D, F, options=options, random=random).to(torch.float64)
    layer.constrain()
    layer.W_enc_FD.copy_(torch.randn(F, D, generator=random, dtype=torch.float64))
    layer.b_enc_F.copy_(0.3 * torch.randn(F, generator=random, dtype=torch.float64))
    layer.b_dec_D.copy_(torch.randn(D, generator=random, dtype=torch.float64))
    for tensor in layer.extra.values():
        tensor.copy_(0.3 * torch.rand(len(tensor), generator=random, dtype=torch.float64))
    return layer


def rows(*, n: int = N, seed: int = 5) -> Tensor:
    return (
        torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    )


class _Jump(torch.autograd.Function):
    """JumpReLU with the pseudo-derivative of the paper's listing: a rectangle around the
    threshold.
    """

    @staticmethod
    def forward(ctx: Any, z_NF: Tensor, theta_F: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(z_NF, theta_F)
        ctx.bandwidth = bandwidth
        return z_NF * (z_NF > theta_F)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z_NF, theta_F = ctx.saved_tensors
        rectangle_NF = (((z_NF - theta_F) / ctx.bandwidth).abs() < 0.5).double()
        return (
            grads[0] * (z_NF > theta_F),
            (-(theta_F / ctx.bandwidth) * rectangle_NF * grads[0]).sum(0),
            None,
        )


class _Step(torch.autograd.Function):
    """The Heaviside step with the same estimator; it passes nothing to the pre-activations."""

    @staticmethod
    def forward(ctx: Any, z_NF: Tensor, theta_F: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(z_NF, theta_F)
        ctx.bandwidth = bandwidth
        return (z_NF > theta_F).double()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        z_NF, theta_F = ctx.saved_tensors
        rectangle_NF = (((z_NF - theta_F) / ctx.bandwidth).abs() < 0.5).double()
        return torch.zeros_like(z_NF), (-1 / ctx.bandwidth * rectangle_NF * grads[0]).sum(0), None


def _kept(z_NF: Tensor, scores_NF: Tensor, k: int, *, whole: bool = False) -> Tensor:
    """Return the rectified entries of the k largest scores of each row, or of the k N largest of
    all.
    """
    ranked = (
        scores_NF.flatten().sort(descending=True).values
        if whole
        else scores_NF.sort(dim=1, descending=True).values
    )
    threshold = ranked[k * len(z_NF) - 1] if whole else ranked[:, k - 1 : k]
    return torch.where(scores_NF >= threshold, z_NF.clamp(min=0), 0.0)


def dense_loss(p: dict[str, Tensor], rule: Rule, x_ND: Tensor, dead: Tensor | None) -> Tensor:
    """Return the loss of parameters `p` (by the names of `LayerSae.parameters`)."""
    z_NF = (x_ND - p["b_dec_D"]) @ p["W_enc_FD"].T + p["b_enc_F"]
    total = x_ND.new_zeros(())
    if rule.activation == "jumprelu":
        theta_F, positive_NF = p["log_threshold_F"].exp(), z_NF.relu()
        codes_NF = _Jump.apply(positive_NF, theta_F, rule.bandwidth)
        l0 = _Step.apply(positive_NF, theta_F, rule.bandwidth).sum() / len(x_ND)
        total = total + rule.l0_weight * (l0 / rule.k - 1) ** 2
    else:
        codes_NF = _kept(z_NF, z_NF.detach(), rule.k, whole=rule.activation == "batchtopk")
    variance = ((x_ND - x_ND.mean(dim=0)) ** 2).sum()
    error_ND = x_ND
    for end in rule.prefixes:
        error_ND = x_ND - p["b_dec_D"] - codes_NF[:, :end] @ p["W_dec_FD"][:end]
        total = total + (error_ND**2).sum() / variance
    if dead is not None:
        rest_nD, is_dead_F = (
            error_ND.detach()[::2],
            torch.zeros(len(p["b_enc_F"]), dtype=torch.bool),
        )
        is_dead_F[dead] = True
        scores_nF = torch.where(is_dead_F, z_NF.detach()[::2], -torch.inf)
        aux_nF = _kept(z_NF[::2], scores_nF, min(rule.k_aux, len(dead)))
        total = total + ALPHA * ((rest_nD - aux_nF @ p["W_dec_FD"]) ** 2).sum() / (rest_nD**2).sum()
    return total
