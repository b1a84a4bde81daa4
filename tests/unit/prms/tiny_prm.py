"""A small random PRM on disk, for tests: the real class, tokenizer and layout, scores spread well
over 0 to 1.
"""

import random
from pathlib import Path

import torch

from rewardscope.prms.qwen import QwenPrm
from rewardscope.tiny.policy import tiny_config
from rewardscope.tiny.tokenizer import build_tokenizer

WORDS = (
    "Tom",
    "has",
    "3",
    "7",
    "apples",
    "so",
    "there",
    "are",
    "12",
    "left",
    "+",
    "=",
    "\\boxed{4}",
    "<think>",
    "π",
    "\n",
    "  ",
)


def make_prm(folder: Path, *, seed: int = 0, layers: int = 3) -> Path:
    """Save a random PRM and its tokenizer into `folder`; return the folder."""
    tokenizer = build_tokenizer(n_problems=20)
    config = tiny_config(tokenizer)
    (
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.max_position_embeddings,
    ) = (layers, 32, 48, 512)
    # a head of width 32, the least that vLLM serves on the CPU
    config.num_attention_heads, config.num_key_value_heads = 1, 1
    config.layer_types = ["full_attention"] * layers
    torch.manual_seed(seed)
    model = QwenPrm(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # larger weights than at the start of training, so that scores differ widely
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
        for linear in (model.score[0], model.score[2]):
            linear.bias.normal_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_solutions(n: int, *, seed: int) -> list[tuple[str, list[str]]]:
    """Return `n` questions, each with 1 to 6 steps of 1 to 12 words."""
    rng = random.Random(seed)

    def text() -> str:
        return "a " + " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12)))

    return [(text(), [text() for _ in range(rng.randint(1, 6))]) for _ in range(n)]
