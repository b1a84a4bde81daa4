"""Cuts of the distribution that a token is drawn from, against transformers' own."""

import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from rewardscope.engines.sampling import pick_tokens


@pytest.mark.parametrize(
    ("top_p", "top_k", "min_p"),
    [(1.0, 0, 0.0), (0.7, 0, 0.0), (1.0, 3, 0.0), (1.0, 0, 0.2), (0.6, 5, 0.05), (0.9, 50, 0.9)],
)
def test_a_uniform_number_picks_from_the_cut_distribution(
    top_p: float, top_k: int, min_p: float
) -> None:
    torch.manual_seed(0)
    logits_RV = torch.randn(1, 40).double().float() * 2
    warpers = LogitsProcessorList([TemperatureLogitsWarper(1.3)])
    # in vLLM's order
    warpers += [MinPLogitsWarper(min_p)] if min_p else []
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    ids = torch.zeros(1, 1, dtype=torch.long)
    wanted_V = warpers(ids, logits_RV.clone())[0].softmax(dim=-1).double()
    n = 20_000
    uniform_R = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    tokens_R = pick_tokens(
        logits_RV.expand(n, -1), uniform_R, temperature=1.3, top_p=top_p, top_k=top_k, min_p=min_p
    )
    counts_V = torch.bincount(tokens_R, minlength=40)
    # evenly spread uniforms give every token its share, to one in each of its two ends
    assert ((counts_V - wanted_V * n).abs() <= 2).all()
