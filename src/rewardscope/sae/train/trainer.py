"""Train the SAEs of several layers together: every batch of rows is read once and used for all
layers.

    trainer = Trainer(sample, options)      # sample: some rows of each layer, for scales and biases
    trainer.step({layer: x_ND, ...})        # one optimizer step on raw activations
    saes = trainer.export(batches, n_rows=65_536)   # some training rows, for thresholds

Source: Gao et al. 2024, arXiv 2406.04093, section A (initialisation, dead features).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rewardscope.sae.model.inference import Sae
from rewardscope.sae.train.activations import Activation
from rewardscope.sae.train.calibration import batch_thresholds
from rewardscope.sae.train.freeze import TRAINED_WHOLE, Freeze
from rewardscope.sae.train.layer import LayerOptions, LayerSae
from rewardscope.sae.train.memory import keep_freed_memory
from rewardscope.sae.train.optimizer import LayerOptimizer, Schedule
from rewardscope.sae.train.pickers import TopOfRow
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

    shapes: by layer. warmup, decay: shares of the steps. clip: bound of a layer's gradient norm, 0
    for none. aux_alpha: weight of AuxK, 0 for none. k_aux: dead features a row, None for half the
    width. dead_after: rows without firing. bf16: encoder products in bfloat16.
    """

    shapes: Mapping[int, Shape]
    activation: Activation
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
    freeze: Freeze = TRAINED_WHOLE


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
        self.layers: dict[int, LayerSae] = {}
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
            self._ranks.copy_first_(torch.tensor(self.scales[layer], dtype=torch.float64))
        )
        for tensor in self.layers[layer].tensors().values():
            self._ranks.copy_first_(tensor)

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

    def export(self, batches: Iterable[LayerBatch] = (), *, n_rows: int = 0) -> dict[int, Sae]:
        """Return the SAEs for raw, unscaled activations, on the CPU.

        An activation function that needs it finds its threshold on the raw training rows of
        `batches`, `n_rows` in all.
        """
        thresholds = self.calibrated(batches, n_rows=n_rows)
        return {
            layer: folded(sae, self.scales[layer], layer=layer, threshold=thresholds.get(layer))
            for layer, sae in self.layers.items()
        }

    @torch.no_grad()
    def calibrated(self, batches: Iterable[LayerBatch], *, n_rows: int) -> dict[int, float]:
        """Return the thresholds, for scaled rows, of the layers that have one by calibration."""
        if not self.options.activation.calibrates:
            return {}
        assert n_rows > 0, "rows are needed"
        scaled = (
            {
                layer: batch[layer].to(self.options.device) * self.scales[layer]
                for layer in self.layers
            }
            for batch in batches
        )
        return batch_thresholds(self.layers, scaled, n_rows=n_rows)

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


def _initial(x_ND: Tensor, median_D: Tensor, options: TrainOptions, *, layer: int) -> LayerSae:
    """Make an SAE whose encoder is its decoder transposed, as long as makes the reconstruction of
    `x_ND` the right size.
    """
    (n_features, k), width = options.shapes[layer], x_ND.shape[1]
    layer_options = LayerOptions(
        activation=options.activation,
        k=k,
        k_aux=min(options.k_aux or width // 2, n_features - k) if options.aux_alpha else 0,
        bf16=options.bf16,
        freeze=options.freeze,
    )
    random = torch.Generator().manual_seed(1_000_003 * options.seed + layer)
    sae = LayerSae(width, n_features, options=layer_options, random=random).to(x_ND.device)
    sae.b_dec_D.copy_(median_D)
    centred_ND, kernels = x_ND - median_D, pick_kernels(x_ND.device)
    guess_ND = kernels.decode(sae.picked(centred_ND, TopOfRow(k)), sae.W_dec_FD)
    sae.W_enc_FD.mul_((centred_ND * guess_ND).sum() / guess_ND.square().sum().clamp_min(1e-12))
    options.activation.start(sae, centred_ND)
    return sae


@torch.no_grad()
def folded(sae: LayerSae, scale: float, *, layer: int, threshold: float | None = None) -> Sae:
    """Return the SAE of raw activations: every rule commutes with a positive factor, so biases and
    thresholds are divided by it.

    `threshold`: of all features, where it is calibrated.
    """
    activation = sae.options.activation
    threshold_F = activation.threshold(sae.extra)
    if activation.calibrates:
        assert threshold is not None, activation
        threshold_F = sae.b_enc_F.new_full((len(sae.b_enc_F),), threshold)
    return Sae(
        W_enc_DF=sae.W_enc_FD.T.contiguous().cpu(),
        b_enc_F=(sae.b_enc_F / scale).cpu(),
        W_dec_FD=sae.W_dec_FD.clone().cpu(),
        b_dec_D=(sae.b_dec_D / scale).cpu(),
        k=sae.k if threshold_F is None else None,
        activation=activation.name,
        threshold_F=None if threshold_F is None else (threshold_F / scale).cpu(),
        layer=layer,
        info=sae.options.freeze.info(),
    )
