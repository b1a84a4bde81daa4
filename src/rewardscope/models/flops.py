"""Estimated floating-point operations of a decoder, from the shape that its config gives.

A multiplication with an addition counts as two. Norms, activation functions, rotary phases and the
softmax are left out.
Source: Kaplan et al. 2020, arXiv 2001.08361, section 2.1, with grouped keys and values and gated
MLPs.
"""

from typing import Any, NamedTuple

from transformers import PreTrainedConfig


class Flops(NamedTuple):
    """What a forward pass of the blocks costs."""

    per_token: int
    """For each token: the weights that it meets."""
    per_pair: int
    """For each earlier token that it attends to, itself included."""
    head: int
    """For each token whose logits are taken."""

    def of(self, start: int, stop: int) -> int:
        """Return the operations of the tokens at positions `start` to `stop` - 1 with what comes
        before them kept.
        """
        pairs = (stop * (stop + 1) - start * (start + 1)) // 2
        return self.per_token * (stop - start) + self.per_pair * pairs

    def of_sampling(self, context: int, n_tokens: int) -> int:
        """Return the operations of generating `n_tokens` after `context` tokens that are kept."""
        return self.of(context, context + n_tokens) + self.head * n_tokens


def flops_of(config: PreTrainedConfig) -> Flops:
    """Return the costs of a decoder with attention and gated MLPs; of experts, those that a token
    meets.
    """
    text: Any = config.get_text_config()
    width, n_layers, n_heads = text.hidden_size, text.num_hidden_layers, text.num_attention_heads
    head_width = getattr(text, "head_dim", None) or width // n_heads
    n_kv = getattr(text, "num_key_value_heads", None) or n_heads
    attention = width * head_width * (2 * n_heads + 2 * n_kv)
    n_experts = getattr(text, "num_experts_per_tok", None) or 1
    inner = (
        getattr(text, "moe_intermediate_size", None) if n_experts > 1 else None
    ) or text.intermediate_size
    return Flops(
        per_token=2 * n_layers * (attention + 3 * width * inner * n_experts),
        per_pair=4 * n_layers * n_heads * head_width,
        head=2 * width * text.vocab_size,
    )
