"""The optimizer of the shipped models: Muon for hidden matrices, AdamW for the rest, warm-up, then
linear decay.

torch has Muon too, but it orthogonalises in bfloat16, which costs 20 times more on a CPU without
bfloat16 instructions.
Source: Jordan et al. 2024, Muon; learning rate scaled to AdamW's update size as in Liu et al. 2025,
arXiv 2502.16982 eq. 4.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration
MOMENTUM, WEIGHT_DECAY, WARM_UP = 0.95, 0.01, 20


def orthogonalise(matrix: Tensor, *, iterations: int = 5) -> Tensor:
    """Return about U V' for a matrix U S V': singular values end up between 0.7 and 1.2."""
    a, b, c = _COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(torch.optim.Optimizer):
    """Step each matrix along its orthogonalised Nesterov momentum."""

    def __init__(self, matrices: list[torch.nn.Parameter], *, lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for matrix in group["params"]:
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonalise(torch.lerp(matrix.grad, momentum, MOMENTUM))
                scale = 0.2 * max(matrix.shape) ** 0.5
                matrix.mul_(1 - group["lr"] * WEIGHT_DECAY).add_(update, alpha=-group["lr"] * scale)


def optimizers(model: torch.nn.Module, *, lr: float, steps: int) -> Callable[[], None]:
    """Return a function that makes one optimizer step and clears the gradients; it serves `steps`
    calls.
    """
    hidden = [
        p
        for name, p in model.named_parameters()
        if p.ndim == 2 and "embed" not in name and "score" not in name
    ]
    taken = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in taken]
    chosen = [
        Muon(hidden, lr=lr),
        torch.optim.AdamW(rest, lr=lr, weight_decay=WEIGHT_DECAY, fused=True),
    ]

    def share(step: int) -> float:
        return min(1.0, (step + 1) / WARM_UP) * (1 - step / steps)

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, share) for optimizer in chosen]

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(chosen, schedules, strict=True):
            optimizer.step()
            schedule.step()
        model.zero_grad(set_to_none=True)

    return step
