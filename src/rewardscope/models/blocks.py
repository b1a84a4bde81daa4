"""Where the parts of a decoder-only model are: its blocks, its final norm, its head.

They are found by what a model is made of, not by the name of its family. What is found is proved on
the model itself: see `sublayers.py`.
"""

import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from rewardscope.errors import BadRecord

# Shape legend: D width.
_LARGE = 1024.0  # a state next to which the epsilon of a norm is nothing


class Blocks(NamedTuple):
    """The parts of one model."""

    decoder: PreTrainedModel
    """Embeddings, blocks and final norm; a call of it computes no head."""
    layers: nn.ModuleList
    """The decoder blocks; layer l is the l-th, from 0."""
    norm: nn.Module
    """The norm after the last block."""
    head: nn.Module | None
    """What the model computes from the normed states; None where the model is a bare decoder."""


class Shape(NamedTuple):
    """The sizes that every decoder has, whatever its config calls them."""

    n_layers: int
    width: int
    window: int
    """Positions that the model was trained on; without bound where it encodes none."""


def shape_of(config: PreTrainedConfig) -> Shape:
    """Return the sizes of a model's text decoder."""
    text: Any = config.get_text_config()
    window = getattr(text, "max_position_embeddings", None) or sys.maxsize
    return Shape(text.num_hidden_layers, text.hidden_size, window)


def head_widths(config: PreTrainedConfig) -> tuple[int, int]:
    """Return the widths of a head's keys and of its values."""
    text: Any = config.get_text_config()
    if getattr(text, "kv_lora_rank", None):  # latent attention
        return text.qk_nope_head_dim + text.qk_rope_head_dim, text.v_head_dim
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return width, width


def find_blocks(model: PreTrainedModel) -> Blocks:
    """Return the parts of `model`; of a model of text and images, those of its text decoder.

    Raises: BadRecord where it is not built of a list of blocks and a norm.
    """
    decoder = model.get_decoder()
    n_layers = shape_of(model.config).n_layers
    lists = [
        child
        for child in decoder.children()
        if isinstance(child, nn.ModuleList) and len(child) == n_layers
    ]
    norms = [child for child in decoder.children() if "norm" in type(child).__name__.lower()]
    if len(lists) != 1 or not norms:
        raise BadRecord(
            f"{type(model).__name__} cannot be looked into: its decoder {type(decoder).__name__} is"
            f" not one list of {n_layers} blocks and a norm"
        )
    # every model registers its head after its decoder, and a norm of its embeddings before the last
    last = list(model.children())[-1]
    return Blocks(decoder, lists[0], norms[-1], None if decoder is model else last)


def check_family(config: PreTrainedConfig) -> None:
    """Refuse before the weights are read what is known not to be a decoder of text.

    What passes proves itself once it is loaded: `sublayers.prove_decoder`. Raises: BadRecord.
    """
    kind = config.model_type
    known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    reads_both_ways = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(
        config, "is_decoder", False
    )
    if config.is_encoder_decoder or reads_both_ways or kind not in known:
        raise BadRecord(
            f"model family {kind!r} is not one of decoders of text, whose states these are; pass a"
            " causal language model"
        )


class Affine(NamedTuple):
    """What a norm does once it has divided by the size of a state."""

    gain_D: Tensor
    bias_D: Tensor
    centred: bool
    """Whether the mean of the state is taken off first, as LayerNorm does."""


@torch.no_grad()
def read_norm(norm: nn.Module, width: int) -> Affine:
    """Return gain and bias, float32, of a norm, however it stores them (as 1 + w in some families).

    They are read off two states of mean 0 and of a size next to which its epsilon is nothing.
    """
    like = next(norm.parameters(), torch.empty(0))
    sign_D = torch.ones(width, device=like.device, dtype=like.dtype)
    sign_D[1::2] = -1
    plus_D, minus_D, shifted_D = norm(_LARGE * torch.stack([sign_D, -sign_D, sign_D + 8])).float()
    gain_D = (plus_D - minus_D) / 2 * sign_D.float()
    centred = bool((shifted_D - plus_D).abs().max() < 1e-2 * gain_D.abs().max())
    return Affine(gain_D, (plus_D + minus_D) / 2, centred)
