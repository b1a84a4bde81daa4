"""Train the SAEs of several layers together: every batch of rows is read once and used for all
layers.

    trainer = Trainer(sample, options)      # sample: some rows of each layer, for scales and biases
    trainer.step({layer: x_ND, ...})        # one optimizer step on raw activations
    saes = trainer.export()

Source: Gao et al. 2024, arXiv 2406.04093, sections 2.3 (TopK) and A (initialisation, dead
features).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rewardscope.sae.model.inference import Sae
from rewardscope.sae.train.activations import BatchTopK, TopK, encode
from rewardscope.sae.train.bank import ActivationName, BankLayer, Rule
from rewardscope.sae.train.memory import keep_freed_memory
from rewardscope.sae.train.optimizer import LayerOptimizer, Schedule
from rewardscope.sae.train.ranks import OneProcess, Ranks
from rewardscope.sae.train.sparse import Kernels, pick_kernels

# Shape legend: N rows, D width, F features.
LayerBatch = Mapping[int, Tensor]


class Shape(NamedTuple):
    """The size of one layer's SAE: features, and how many may be active a row."""

    n_features: int
    k: int


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What training needs besides the rows.

    shapes: by layer. prefixes: Matryoshka's nested dictionaries as shares of the features, up to 1.
    l0_weight: JumpReLU's weight of (L0 / k - 1)^2. bandwidth: the width of its kernel for rows of
    length 1. warmup, decay: shares of the steps. clip: bound of a layer's gradient norm, 0 for
    none. aux_alpha: weight of AuxK, 0 for none. k_aux: dead features a row, None for half the
    width. dead_after: rows without firing. bf16: encoder products in bfloat16.
    """

    shapes: Mapping[int, Shape]
    activation: ActivationName
    prefixes: tuple[float, ...]
    l0_weight: float
    bandwidth: float
    n_steps: int
    lr: float
    warmup: float
    decay: float
    clip: float
    aux_alpha: float
    k_aux: int | None
    dead_after: int
    bf16: bool
    seed: int
    device: torch.device


class StepReport(NamedTuple):
    """What a step gave for one layer, each a number on the device."""

    fvu: Tensor
    l0: Tensor
    aux: Tensor
    dead: Tensor
    grad_norm: Tensor


class Trainer:
    """The SAEs of some layers and their optimizers.

    `sample` holds rows of each layer [N, D], raw as the batches are. Inside, activations are scaled
    so that their mean squared distance from the geometric median is the width; `export` folds the
    scale into the weights. On a CPU the process keeps memory that is freed.
    """

    def __init__(
        self,
        sample: LayerBatch,
        options: TrainOptions,
        *,
        ranks: Ranks | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        if options.device.type == "cpu":
            keep_freed_memory()
        self.options, self.n_done = options, 0
        self._ranks, self._kernels = ranks or OneProcess(), kernels or pick_kernels(options.device)
        self.schedule = Schedule(
            lr=options.lr, n_steps=options.n_steps, warmup=options.warmup, decay=options.decay
        )
        self.scales: dict[int, float] = {}
        self.layers: dict[int, BankLayer] = {}
        for layer in options.shapes:
            x_ND = sample[layer].to(options.device)
            median_D = geometric_median(x_ND)
            self.scales[layer] = _scale(x_ND - median_D)
            self.layers[layer] = _initial(
                x_ND * self.scales[layer], median_D * self.scales[layer], options, layer=layer
            )
            self._agree(layer)
        self.optimizers = {
            layer: LayerOptimizer(sae, clip=options.clip) for layer, sae in self.layers.items()
        }

    def _agree(self, layer: int) -> None:
        """Start from the same weights to the last bit, whatever the processes' devices are."""
        self.scales[layer] = float(
            self._ranks.same_(torch.tensor(self.scales[layer], dtype=torch.float64))
        )
        for tensor in self.layers[layer].tensors().values():
            self._ranks.same_(tensor)

    @torch.no_grad()
    def step(self, batch: LayerBatch) -> dict[int, StepReport]:
        """Take one step on the same raw rows [N, D] of every layer."""
        lr, reports = self.schedule.at(self.n_done), {}
        for layer, sae in self.layers.items():
            dead_F = sae.rows_since_fired_F > self.options.dead_after
            dead = dead_F.nonzero().flatten() if self.options.aux_alpha else None
            x_ND = batch[layer].to(self.options.device) * self.scales[layer]
            grads, report = sae.gradients(
                x_ND,
                dead=dead,
                alpha=self.options.aux_alpha,
                kernels=self._kernels,
                ranks=self._ranks,
            )
            for gradient in grads.values():
                self._ranks.sum_(gradient)
            norm = self.optimizers[layer].step(grads, lr=lr)
            reports[layer] = StepReport(
                report.fvu, report.l0, report.aux, dead_F.float().mean(), norm
            )
        self.n_done += 1
        return reports

    def export(self) -> dict[int, Sae]:
        """Return the SAEs for raw, unscaled activations, on the CPU."""
        return {
            layer: folded(sae, self.scales[layer], layer=layer)
            for layer, sae in self.layers.items()
        }

    def tensors(self, layer: int) -> dict[str, Tensor]:
        """Return all of a layer's state: weights, counts, scale and optimizer."""
        scale = torch.tensor(self.scales[layer], dtype=torch.float64)
        return self.layers[layer].tensors() | {"scale": scale} | self.optimizers[layer].tensors()

    def load(self, layer: int, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        for name, tensor in self.layers[layer].tensors().items():
            tensor.copy_(tensors[name])
        self.scales[layer] = float(tensors["scale"])
        self.optimizers[layer].load(tensors)


def auto_lr(n_features: int, n_steps: int) -> float:
    """Return the learning rate of Adam: 2e-4 at 16,384 features, falling with the root of their
    number, larger for short runs.

    Below 20,000 steps it grows with the root of what is missing, at most four times: with 300 steps
    on a PRM of width 128 the variance left is then 0.021 to 0.023, against 0.026 at the plain rate.
    It is never above 5e-3.
    Source: the scaling law of Gao et al. 2024, section 3.1, as 2e-4 / sqrt(F / 2^14).
    """
    short = min(4.0, math.sqrt(max(1.0, 20_000 / n_steps)))
    return min(5e-3, short * 2e-4 / math.sqrt(n_features / 2**14))


def geometric_median(x_ND: Tensor, *, n_iterations: int = 50) -> Tensor:
    """Return the point [D] with the least sum of distances to the rows (Weiszfeld's iteration);
    outliers hardly move it.
    """
    point_D = x_ND.mean(dim=0)
    for _ in range(n_iterations):
        weight_N = 1 / (x_ND - point_D).norm(dim=1).clamp_min(1e-8)
        point_D = (weight_N @ x_ND) / weight_N.sum()
    return point_D


def _scale(centred_ND: Tensor) -> float:
    spread = centred_ND.square().sum(dim=1).mean()
    return float((centred_ND.shape[1] / spread.clamp_min(1e-12)).sqrt())


def _initial(x_ND: Tensor, median_D: Tensor, options: TrainOptions, *, layer: int) -> BankLayer:
    """Make an SAE whose encoder is its decoder transposed, as long as makes the reconstruction of
    `x_ND` the right size.

    JumpReLU's thresholds start where k features are active a row.
    """
    (n_features, k), width = options.shapes[layer], x_ND.shape[1]
    k_aux = min(options.k_aux or width // 2, n_features - k) if options.aux_alpha else 0
    nested = tuple(max(1, round(share * n_features)) for share in options.prefixes)
    rule = Rule(
        activation=options.activation,
        k=k,
        k_aux=k_aux,
        prefixes=nested if options.activation == "matryoshka" else (n_features,),
        l0_weight=options.l0_weight,
        bandwidth=options.bandwidth * math.sqrt(width),
        bf16=options.bf16,
    )
    random = torch.Generator().manual_seed(1_000_003 * options.seed + layer)
    sae = BankLayer(width, n_features, rule=rule, random=random).to(x_ND.device)
    sae.b_dec_D.copy_(median_D)
    centred_ND, kernels = x_ND - median_D, pick_kernels(x_ND.device)
    (active,) = encode(centred_ND, sae.W_enc_FD, sae.b_enc_F, [TopK(k)], bf16=False)
    guess_ND = kernels.decode(active, sae.W_dec_FD)
    sae.W_enc_FD.mul_((centred_ND * guess_ND).sum() / guess_ND.square().sum().clamp_min(1e-12))
    if options.activation == "jumprelu":
        (active,) = encode(
            centred_ND, sae.W_enc_FD, sae.b_enc_F, [BatchTopK(k, len(x_ND))], bf16=False
        )
        sae.log_threshold_F.fill_(float(active.values_M.min().log()))
    return sae


@torch.no_grad()
def folded(sae: BankLayer, scale: float, *, layer: int) -> Sae:
    """Return the SAE of raw activations: every rule commutes with a positive factor, so biases and
    thresholds are divided by it.
    """
    rule, threshold_F = sae.rule, None
    if rule.activation == "batchtopk":
        threshold_F = sae.batch_threshold.expand(len(sae.b_enc_F))
    elif rule.activation == "jumprelu":
        threshold_F = sae.log_threshold_F.exp()
    return Sae(
        W_enc_DF=sae.W_enc_FD.T.contiguous().cpu(),
        b_enc_F=(sae.b_enc_F / scale).cpu(),
        W_dec_FD=sae.W_dec_FD.clone().cpu(),
        b_dec_D=(sae.b_dec_D / scale).cpu(),
        k=rule.k if threshold_F is None else None,
        activation=rule.activation,
        threshold_F=None if threshold_F is None else (threshold_F / scale).cpu(),
        layer=layer,
        info={},
    )
