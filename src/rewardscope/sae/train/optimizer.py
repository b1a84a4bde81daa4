"""Adam over the trained tensors of one layer, with a schedule, clipping, and decoder rows that keep
length 1.

Adam is the dense fused one: at 256 x 4096 it is one hundredth of a step, since a batch touches
almost every feature.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rewardscope.sae.train.layer import LayerSae


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate by step: up over the share `warmup` of all steps, down to zero over the
    share `decay` at the end.
    """

    lr: float
    n_steps: int
    warmup: float
    decay: float

    def at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        up = (step + 1) / max(1, int(self.warmup * self.n_steps))
        down = (self.n_steps - step) / max(1, int(self.decay * self.n_steps))
        return self.lr * max(0.0, min(1.0, up, down))


class LayerOptimizer:
    """Updates one layer from its gradients.

    `clip` bounds their norm, after the decoder's was projected; 0: no bound.
    """

    def __init__(self, layer: LayerSae, *, clip: float) -> None:
        self._layer, self._clip = layer, clip
        self._named = layer.parameters()
        self._adam = torch.optim.Adam(
            list(self._named.values()), lr=0.0, betas=(0.9, 0.999), fused=True
        )

    @torch.no_grad()
    def step(self, grads: dict[str, Tensor], *, lr: float) -> Tensor:
        """Take one step; return the norm of the gradient before clipping."""
        self._layer.project_gradient(grads)
        norm = torch.stack([torch.linalg.vector_norm(grads[name]) for name in self._named]).norm()
        for name, parameter in self._named.items():
            if self._clip:
                grads[name] *= (self._clip / norm).clamp(max=1.0)
            parameter.grad = grads[name]
        self._adam.param_groups[0]["lr"] = lr
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self._layer.constrain()
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Return Adam's moments and step counts, by name; empty before the first step."""
        states = {
            name: self._adam.state[parameter]
            for name, parameter in self._named.items()
            if self._adam.state[parameter]
        }
        return {
            f"{name}.{key}": value for name, state in states.items() for key, value in state.items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        for name, parameter in self._named.items():
            keys = ("step", "exp_avg", "exp_avg_sq")
            self._adam.state[parameter] = {
                key: tensors[f"{name}.{key}"].to(parameter.device) for key in keys
            }
