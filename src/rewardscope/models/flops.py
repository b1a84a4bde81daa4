"""Estimated floating-point operations of a decoder, from the weights that its config describes.

A multiplication with an addition counts as two. Norms, activation functions, rotary phases and the
softmax are left out.
Source: Kaplan et al. 2020, arXiv 2001.08361, section 2.1; with the weights of the model itself,
which is built without memory, in place of formulas for them.
"""

import copy
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig

from rewardscope.models.blocks import find_blocks, head_widths


class Flops(NamedTuple):
    """What a forward pass of the blocks costs."""

    per_token: int
    """For each token: the weights that it meets; of experts, those of as many as it is sent to."""
    per_pair: int
    """For each earlier token that it attends to, itself included."""
    head: int
    """For each token whose logits are taken."""
    per_near_pair: int = 0
    """The same for layers that attend to the last `window` tokens."""
    window: int = 0

    def of(self, start: int, stop: int) -> int:
        """Return the operations of the tokens at positions `start` to `stop` - 1 with what comes
        before them kept.
        """
        n_pairs = _pairs(stop) - _pairs(start)
        # of the tokens beyond the window each leaves out one more than the one before it
        far = _pairs(max(stop - self.window, 0)) - _pairs(max(start - self.window, 0))
        return (
            self.per_token * (stop - start)
            + self.per_pair * n_pairs
            + self.per_near_pair * (n_pairs - far)
        )

    def of_sampling(self, context: int, n_tokens: int) -> int:
        """Return the operations of generating `n_tokens` after `context` tokens that are kept."""
        return self.of(context, context + n_tokens) + self.head * n_tokens


def flops_of(config: PreTrainedConfig) -> Flops:
    """Return the costs of the text decoder of a model."""
    # a copy: a model made from a config writes its attention into it, and others share it
    text: Any = copy.deepcopy(config.get_text_config())
    with torch.device("meta"):
        decoder = AutoModel.from_config(text, attn_implementation="eager")
    weights = _weights_met(find_blocks(decoder).layers, getattr(text, "num_experts_per_tok", None))
    window = getattr(text, "sliding_window", None) or 0
    attention = "sliding_attention" if window else "full_attention"
    kinds = getattr(text, "layer_types", None) or [attention] * text.num_hidden_layers
    n_near, n_linear = kinds.count("sliding_attention"), kinds.count("linear_attention")
    n_full = kinds.count("full_attention")
    pair = 2 * text.num_attention_heads * sum(head_widths(text))
    return Flops(
        per_token=2 * weights + (n_linear * _linear_attention(text) if n_linear else 0),
        per_pair=n_full * pair,
        head=2 * text.hidden_size * text.vocab_size,
        per_near_pair=n_near * pair,
        window=window,
    )


def _pairs(n_tokens: int) -> int:
    """Return how many pairs of a token and an earlier one, or itself, there are."""
    return n_tokens * (n_tokens + 1) // 2


def _weights_met(blocks: nn.Module, n_chosen: int | None) -> int:
    """Return how many weights a token is multiplied with; the stacks [E, ...] of experts hold those
    of all experts.
    """
    met = 0
    for module in blocks.modules():
        stacked = not isinstance(module, nn.Conv1d)
        for weight in module.parameters(recurse=False):
            if weight.ndim == 3 and stacked and n_chosen:
                met += weight.numel() // weight.shape[0] * n_chosen
            elif weight.ndim == 3 or (weight.ndim == 2 and not _is_bias(module)):
                met += weight.numel()
    return met


def _is_bias(module: nn.Module) -> bool:
    """Say whether a module's matrices are biases of experts: it has stacks of weights too."""
    return any(weight.ndim == 3 for weight in module.parameters(recurse=False))


def _linear_attention(text: Any) -> int:
    """Return what a token costs in a layer whose heads keep a state [K, V]: it is read at the key,
    a product is added to it, and it is read at the query.
    """
    state = text.linear_key_head_dim * text.linear_value_head_dim
    return 3 * 2 * text.linear_num_value_heads * state
