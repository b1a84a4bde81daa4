"""Choose the next token of each row from its logits."""

import torch
from torch import Tensor

# Shape legend: R rows, V vocabulary.


def pick_tokens(
    logits_RV: Tensor,
    uniform_R: Tensor | None,
    *,
    temperature: float,
    top_p: float,
    top_k: int = 0,
    min_p: float = 0.0,
) -> Tensor:
    """Return a token for each row: the best at temperature 0, else the one where the cumulative
    distribution passes `uniform_R`.

    The distribution is the softmax at the temperature, cut as vLLM cuts it: to the tokens with at
    least `min_p` of the best one's probability; to the best `top_k` of these (0: all); to the
    fewest of these that hold `top_p` of what is left. `uniform_R` is float64 in [0, 1).
    Source: top_p arXiv 1904.09751 section 3.1, min_p arXiv 2407.01082.
    """
    if temperature == 0:
        return logits_RV.argmax(dim=-1)
    assert uniform_R is not None
    prob_RV = (logits_RV.float() / temperature).softmax(dim=-1)
    last_R = torch.full_like(prob_RV[:, :1], prob_RV.shape[-1] - 1, dtype=torch.long)
    order_RV = None
    if top_p < 1 or top_k or min_p:
        prob_RV, order_RV = prob_RV.sort(dim=-1, descending=True, stable=True)
    cumulative_RV = prob_RV.double().cumsum(dim=-1)
    if top_k or min_p:
        likely_R = (prob_RV >= min_p * prob_RV[:, :1]).sum(dim=-1, keepdim=True)
        last_R = likely_R.clamp(max=top_k or prob_RV.shape[-1]) - 1
    if top_p < 1:
        share_R = cumulative_RV.gather(-1, last_R) if top_k or min_p else 1.0
        held_R = torch.full_like(cumulative_RV[:, :1], top_p) * share_R
        last_R = torch.searchsorted(cumulative_RV, held_R).minimum(last_R)
    mass_R = cumulative_RV.gather(-1, last_R)
    place_R = torch.searchsorted(cumulative_RV, uniform_R[:, None] * mass_R, right=True).minimum(
        last_R
    )
    return (place_R if order_RV is None else order_RV.gather(-1, place_R)).squeeze(-1)
