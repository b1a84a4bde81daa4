"""The losses of `sae.bank` by dense matrices and masks, differentiated by autograd: what the sparse
path is checked against.
"""

from typing import Any

import torch
from torch import Tensor

from rewardscope.sae.train.bank import BankLayer, Rule

N, D, F, K, K_AUX = 13, 6, 20, 3, 4
ALPHA = 1 / 32


def make_rule(activation: Any, **changes: Any) -> Rule:
    prefixes = (5, 12, F) if activation == "matryoshka" else (F,)
    values: dict[str, Any] = {
        "k": K,
        "k_aux": K_AUX,
        "prefixes": prefixes,
        "l0_weight": 0.7,
        "bandwidth": 0.9,
        "bf16": False,
    }
    return Rule(activation=activation, **(values | changes))


def make_layer(activation: Any, **changes: Any) -> BankLayer:
    """Return a layer in float64 with random weights; thresholds are above half the bandwidth."""
    random = torch.Generator().manual_seed(3)
    layer = BankLayer(D, F, rule=make_rule(activation, **changes), random=random).to(torch.float64)
    layer.normalise_decoder()
    layer.W_enc_FD.copy_(torch.randn(F, D, generator=random, dtype=torch.float64))
    layer.b_enc_F.copy_(0.3 * torch.randn(F, generator=random, dtype=torch.float64))
    layer.b_dec_D.copy_(torch.randn(D, generator=random, dtype=torch.float64))
    layer.log_threshold_F.copy_(
        0.3 * torch.rand(len(layer.log_threshold_F), generator=random, dtype=torch.float64)
    )
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
    """Return the loss of parameters `p` (by the names of `BankLayer.parameters`)."""
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
