"""Train the SAEs of several layers together: every batch of rows is read once and used for all layers.

Source: Gao et al. 2024, arXiv 2406.04093, sections 2.3 (TopK) and A (initialisation, dead features).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardscope.log import RunLog, progress
from rewardscope.sae.bank import TopKSae, decode, top_pre_activations
from rewardscope.sae.checkpoint import Sae
from rewardscope.sae.stream import ActStream, LayerBatch

# Shape legend: N rows, D width, F features.
_SAMPLE_ROWS = 8192
_DEAD_AFTER = 10_000_000  # rows without firing (Gao et al.), or this share of a shorter run:
_DEAD_SHARE = 0.1
_LOG_EVERY = 50


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What training needs besides the rows. `n_rows` counts a row once for each time it is used; `aux_alpha` 0 turns AuxK off."""

    n_features: int
    k: int
    n_rows: int
    lr: float
    aux_alpha: float
    seed: int
    device: torch.device


def auto_lr(n_features: int, n_steps: int) -> float:
    """Return the learning rate of Adam: 2e-4 at 16,384 features, falling with the root of their number, larger for short runs.

    Below 20,000 steps it grows with the root of what is missing, at most four times: with 300 steps on a PRM of width 128 the
    variance left is then 0.021 to 0.023, against 0.026 at the plain rate. It is never above 5e-3.
    Source: the scaling law of Gao et al. 2024, section 3.1, as 2e-4 / sqrt(F / 2^14).
    """
    short = min(4.0, math.sqrt(max(1.0, 20_000 / n_steps)))
    return min(5e-3, short * 2e-4 / math.sqrt(n_features / 2**14))


def geometric_median(x_ND: Tensor, *, n_iterations: int = 50) -> Tensor:
    """Return the point [D] with the least sum of distances to the rows (Weiszfeld's iteration); outliers hardly move it."""
    point_D = x_ND.mean(dim=0)
    for _ in range(n_iterations):
        weight_N = 1 / (x_ND - point_D).norm(dim=1).clamp_min(1e-8)
        point_D = (weight_N @ x_ND) / weight_N.sum()
    return point_D


def train_saes(stream: ActStream, options: TrainOptions, *, run_log: RunLog) -> dict[int, Sae]:
    """Train one SAE a layer on the rows of `stream`; return them for raw, unscaled activations.

    Inside, activations are scaled so that their mean squared distance from the geometric median is the width; the scale is
    folded into the biases at the end, which leaves decoder rows of length 1.
    """
    sample = stream.sample(_SAMPLE_ROWS)
    scales = {layer: _scale(acts_ND) for layer, acts_ND in sample.items()}
    saes = {layer: _initial(acts_ND * scales[layer], options, layer=layer).to(options.device) for layer, acts_ND in sample.items()}
    parameters = [p for sae in saes.values() for p in sae.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=options.lr, betas=(0.9, 0.999), fused=True)
    n_steps = math.ceil(options.n_rows / stream.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _lr_share(step, n_steps))
    batches = stream.batches(options.n_rows)
    for step, batch in enumerate(progress(batches, "train-sae", total=n_steps, unit="batch")):
        metrics = _train_batch(saes, {layer: (acts * scales[layer]).to(options.device) for layer, acts in batch.items()}, options)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        for sae in saes.values():
            sae.normalise_decoder()
        if step % _LOG_EVERY == 0 or step == n_steps - 1:
            run_log.log({name: float(value) for name, value in metrics.items()}, step=step)
    return {layer: _folded(sae, scales[layer], layer=layer) for layer, sae in saes.items()}


def _train_batch(saes: dict[int, TopKSae], batch: LayerBatch, options: TrainOptions) -> dict[str, Tensor]:
    """Add the gradients of one batch for every layer; return metrics by name."""
    metrics = {}
    for layer, sae in saes.items():
        dead_F = sae.rows_since_fired_F > min(_DEAD_AFTER, _DEAD_SHARE * options.n_rows)
        losses = sae.losses(batch[layer], dead_F=dead_F if options.aux_alpha else None, alpha=options.aux_alpha)
        losses.total.backward()
        sae.project_gradient()
        metrics |= {f"fvu/layer_{layer}": losses.fvu, f"aux/layer_{layer}": losses.aux, f"dead/layer_{layer}": dead_F.float().mean()}
    return metrics


def _lr_share(step: int, n_steps: int) -> float:
    """Warm up over the first twentieth and fall to zero over the last fifth."""
    return min(1.0, (step + 1) / max(1, n_steps // 20), (n_steps - step) / max(1, n_steps // 5))


def _scale(x_ND: Tensor) -> float:
    spread = (x_ND - geometric_median(x_ND)).square().sum(dim=1).mean()
    return float((x_ND.shape[1] / spread.clamp_min(1e-12)).sqrt())


def _initial(x_ND: Tensor, options: TrainOptions, *, layer: int) -> TopKSae:
    """Make an SAE whose encoder is its decoder transposed, as long as makes the reconstruction of `x_ND` the right size."""
    width = x_ND.shape[1]
    k_aux = min(width // 2, options.n_features - options.k) if options.aux_alpha else 0
    random = torch.Generator().manual_seed(1_000_003 * options.seed + layer)
    sae = TopKSae(width, options.n_features, k=options.k, k_aux=k_aux, random=random)
    with torch.no_grad():
        sae.b_dec_D.copy_(geometric_median(x_ND))
        centred_ND = x_ND - sae.b_dec_D
        top = top_pre_activations(centred_ND, sae.W_enc_FD.T, sae.b_enc_F, k=options.k)
        guess_ND = decode(top._replace(values_NK=top.values_NK.relu()), sae.W_dec_FD)
        sae.W_enc_FD.mul_((centred_ND * guess_ND).sum() / guess_ND.square().sum().clamp_min(1e-12))
    return sae


@torch.no_grad()
def _folded(sae: TopKSae, scale: float, *, layer: int) -> Sae:
    """Return the SAE of raw activations: TopK and ReLU commute with a positive factor, so dividing both biases by it is enough."""
    return Sae(
        W_enc_DF=sae.W_enc_FD.T.contiguous().cpu(), b_enc_F=(sae.b_enc_F / scale).cpu(),
        W_dec_FD=sae.W_dec_FD.detach().clone().cpu(), b_dec_D=(sae.b_dec_D / scale).cpu(), k=sae.k, layer=layer, info={},
    )  # fmt: skip
