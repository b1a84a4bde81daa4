"""Choose the next token of each row from its logits."""

import torch
from torch import Tensor

# Shape legend: R rows, V vocabulary.


def pick_tokens(
    logits_RV: Tensor, uniform_R: Tensor | None, *, temperature: float, top_p: float
) -> Tensor:
    """Return a token for each row: the best at temperature 0, else the one where the cumulative
    distribution passes `uniform_R`.

    The distribution is the softmax at the temperature, cut to the fewest tokens that hold `top_p`
    of it. `uniform_R` is float64 in [0, 1). Source of the cut: arXiv 1904.09751 section 3.1.
    """
    if temperature == 0:
        return logits_RV.argmax(dim=-1)
    assert uniform_R is not None
    prob_RV = (logits_RV.float() / temperature).softmax(dim=-1)
    order_RV = None
    if top_p < 1:
        prob_RV, order_RV = prob_RV.sort(dim=-1, descending=True, stable=True)
    cumulative_RV = prob_RV.double().cumsum(dim=-1)
    mass_R = cumulative_RV[:, -1:]
    if top_p < 1:
        last_R = torch.searchsorted(cumulative_RV, torch.full_like(mass_R, top_p)).clamp(
            max=prob_RV.shape[-1] - 1
        )
        mass_R = cumulative_RV.gather(-1, last_R)
    place_R = torch.searchsorted(cumulative_RV, uniform_R[:, None] * mass_R, right=True).clamp(
        max=prob_RV.shape[-1] - 1
    )
    return (place_R if order_RV is None else order_RV.gather(-1, place_R)).squeeze(-1)
