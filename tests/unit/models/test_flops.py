"""Estimated operations against a count of the multiplications that a real forward pass makes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
)

from rewardscope.models.flops import Flops, flops_of

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
GROUPED = SHAPE | {"num_key_value_heads": 2}


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**GROUPED),
        LlamaConfig(**SHAPE, num_key_value_heads=4, head_dim=16),
        GPT2Config(vocab_size=50, n_embd=32, n_layer=3, n_head=4),
        Qwen3MoeConfig(
            **SHAPE,
            num_key_value_heads=2,
            num_experts=6,
            num_experts_per_tok=2,
            moe_intermediate_size=40,
        ),
        MixtralConfig(**SHAPE, num_key_value_heads=2, num_local_experts=6, num_experts_per_tok=2),
        Gemma2Config(**GROUPED, head_dim=8, sliding_window=64),
    ],
    ids=["grouped keys", "wide heads", "plain MLP", "experts", "other experts", "windows"],
)
def test_the_estimate_is_what_torch_counts(config: PreTrainedConfig) -> None:
    n_tokens = 20
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=torch.arange(n_tokens)[None])
    flops = flops_of(config)
    counted = counter.get_total_flops()
    # Eager attention computes the masked pairs too, and all tokens pass the head; the rotary phases
    # are one small product.
    masked = (flops.per_pair + flops.per_near_pair) * n_tokens * (n_tokens - 1) // 2
    assert flops.of(0, n_tokens) + flops.head * n_tokens + masked == pytest.approx(
        counted, rel=2e-3
    )


def test_tokens_cost_the_same_in_one_pass_and_in_several() -> None:
    flops = Flops(per_token=7, per_pair=3, head=5)
    assert flops.of(0, 10) == flops.of(0, 4) + flops.of(4, 10) == 7 * 10 + 3 * 55
    assert flops.of_sampling(4, 6) == flops.of(4, 10) + 30


def test_a_layer_with_a_window_attends_to_no_more_tokens_than_that() -> None:
    flops = Flops(per_token=0, per_pair=0, head=0, per_near_pair=1, window=4)
    assert flops.of(0, 10) == sum(min(position + 1, 4) for position in range(10))
    assert flops.of(3, 9) == sum(min(position + 1, 4) for position in range(3, 9))


def test_linear_attention_costs_the_same_at_any_position() -> None:
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    kinds = ["linear_attention", "full_attention", "linear_attention"]
    config = Qwen3NextConfig(**SHAPE, **linear, num_experts=4, layer_types=kinds)
    flops = flops_of(config)
    assert flops.per_pair == 4 * config.num_attention_heads * config.head_dim
    assert flops.per_near_pair == 0


def test_counting_does_not_change_how_the_model_attends() -> None:
    config = Qwen2Config(**GROUPED)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    flops_of(model.config)
    assert model.config._attn_implementation == "sdpa"
