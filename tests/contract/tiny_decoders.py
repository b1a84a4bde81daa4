"""Tiny random decoders of all families that are served, each with the tokenizer of the tiny models.

Windows are shorter than the inputs of the tests, and each hybrid has layers of both kinds.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rewardscope.tiny.tokenizer import build_tokenizer

N_LAYERS, WINDOW = 3, 8
_NEOX = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
_SIZE = _NEOX | {"num_key_value_heads": 2, "head_dim": 8}
_GPT2 = {"n_embd": 32, "n_layer": N_LAYERS, "n_head": 4, "n_positions": 512}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_WINDOWS = _SIZE | {
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
_LINEAR = _SIZE | {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": N_LAYERS,  # as many as the text has, so that they could be taken for them
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_LATENT = _EXPERTS | {
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _SIZE,
    "mistral": _SIZE | {"sliding_window": WINDOW},
    "mixtral": _SIZE | {"num_local_experts": 4},
    "qwen2": _SIZE,
    "qwen3": _SIZE,
    "qwen3_moe": _SIZE | _EXPERTS,
    "qwen3_next": _LINEAR | _EXPERTS | {"shared_expert_intermediate_size": 24},
    "gemma2": _WINDOWS,
    "gemma3_text": _WINDOWS,
    "phi3": _SIZE,
    "olmo2": _SIZE,
    "olmo3": _WINDOWS,
    "gpt_oss": _WINDOWS | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "smollm3": _SIZE,
    "granite": _SIZE | {"residual_multiplier": 0.3, "embedding_multiplier": 5.0},
    "gpt2": _GPT2,
    "gpt_neox": _NEOX,
    # text decoders within models of text and images
    "gemma3": {"text_config": _WINDOWS, "vision_config": _VISION},
    "qwen3_5": {"text_config": _LINEAR},
    # families that no code names, served because they prove themselves
    "cohere": _SIZE,
    "deepseek_v3": _NEOX | _LATENT | {"num_key_value_heads": 4},
    "gptj": _GPT2 | {"rotary_dim": 4},
}


def make_decoder(family: str, folder: Path) -> Path:
    """Save a random decoder and its tokenizer into `folder`; return the folder."""
    tokenizer = build_tokenizer(n_problems=20)
    own = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
    options = dict(FAMILIES[family])
    if "text_config" in options:
        options["text_config"] = options["text_config"] | own
    config = AutoConfig.for_model(family, **options, **({} if "text_config" in options else own))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # larger weights than at the start of training, so that the best token leads clearly;
            # norms away from what their class begins with, so that one that is left out shows
            noise = torch.randn_like(parameter)
            parameter.copy_(0.25 * noise if parameter.ndim > 1 else parameter + 0.2 * noise)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
