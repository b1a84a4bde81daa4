"""Estimated operations against a count of the multiplications that a real forward pass makes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen2Config

from rewardscope.models.flops import Flops, flops_of

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SHAPE, num_key_value_heads=2),
        LlamaConfig(**SHAPE, num_key_value_heads=4, head_dim=16),
    ],
    ids=["grouped keys", "wide heads"],
)
def test_the_estimate_is_what_torch_counts(config: PreTrainedConfig) -> None:
    n_tokens = 20
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.arange(n_tokens)[None])
    flops = flops_of(config)
    counted = counter.get_total_flops()
    # Eager attention computes the masked pairs too, and all tokens pass the head; the rotary phases
    # are one small product.
    masked = flops.per_pair * n_tokens * (n_tokens - 1) // 2
    assert flops.of(0, n_tokens) + flops.head * n_tokens + masked == pytest.approx(
        counted, rel=2e-3
    )


def test_tokens_cost_the_same_in_one_pass_and_in_several() -> None:
    flops = Flops(per_token=7, per_pair=3, head=5)
    assert flops.of(0, 10) == flops.of(0, 4) + flops.of(4, 10) == 7 * 10 + 3 * 55
    assert flops.of_sampling(4, 6) == flops.of(4, 10) + 30
