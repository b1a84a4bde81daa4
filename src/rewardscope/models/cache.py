"""Keys and values of earlier tokens, kept so that a step of decoding neither re-allocates nor
copies them.

transformers' own dynamic cache concatenates at every token, and its attention repeats the keys of
grouped heads; together they cost more than the rest of a small model once sequences are long.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, LinearAttentionLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

# Shape legend: R rows, H query heads, K key heads, G query heads of one key head, T tokens, D width
# of a head.
ROOM = 256  # tokens that a buffer is made longer than it must be
ATTENTION = "sdpa_grouped"


class GrowingLayer(DynamicLayer):
    """A cache layer that writes into buffers with room for tokens to come;

    `keys` and `values` are views [R, K, T, D] of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Add the states of new tokens; return those of all tokens."""
        used = self.get_seq_length()
        needed = used + key_states.shape[-2]
        if self._buffers is None or needed > self._buffers[0].shape[-2]:
            self._buffers = (
                self._longer(self.keys, key_states, needed),
                self._longer(self.values, value_states, needed),
            )
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, used:needed] = states
        self.keys, self.values = (buffer[:, :, :needed] for buffer in self._buffers)
        return self.keys, self.values

    def fill(self, keys: Tensor, values: Tensor, *, used: int) -> None:
        """Start from buffers [R, K, T, D] whose first `used` tokens are there."""
        self._buffers = keys, values
        self.keys, self.values = keys[:, :, :used], values[:, :, :used]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows that `beam_idx` names, in its order, a row as often as it is named."""
        super().reorder_cache(beam_idx)  # type: ignore[arg-type]
        self._buffers = None

    @staticmethod
    def _longer(old: Tensor | None, new: Tensor, needed: int) -> Tensor:
        rows, heads, _, width = new.shape
        buffer = new.new_empty(rows, heads, needed + ROOM, width)
        if old is not None:
            buffer[:, :, : old.shape[-2]] = old
        return buffer


def growing_cache(model: PreTrainedModel) -> Cache:
    """Return an empty cache for `model`; layers of a special kind, such as sliding windows, stay
    transformers' own.
    """
    cache = DynamicCache(config=model.config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def keeps_prefixes(model: PreTrainedModel) -> bool:
    """Say whether a model goes on from any number of kept tokens with several new ones: a state of
    linear attention cannot.
    """
    return all(
        isinstance(layer, DynamicLayer) and not isinstance(layer, LinearAttentionLayer)
        for layer in growing_cache(model).layers
    )


class Held(NamedTuple):
    """The bytes that a cache takes."""

    keys: int
    """Keys and values: they grow with the tokens."""
    states: int
    """States of linear attention: of one size for each row."""


def bytes_held(cache: Cache) -> Held:
    """Return what a cache takes now."""
    keys = states = 0
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None:
            keys += layer.keys.nbytes + layer.values.nbytes
        if isinstance(layer, LinearAttentionLayer):
            kept = (*layer.conv_states.values(), *layer.recurrent_states.values())
            states += sum(state.nbytes for state in kept if state is not None)
    return Held(keys, states)


def group_queries(model: PreTrainedModel) -> None:
    """Make `model` decode without repeating the keys of grouped heads, where it uses torch's
    attention.
    """
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(ATTENTION, _grouped_attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation(ATTENTION)


def _grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend from [R, H, T, D]; the G queries of a key head stand in for G query positions where
    there is one position.
    """
    rows, heads, positions, width = query.shape
    key_heads = key.shape[1]
    if positions > 1 or key_heads == heads or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    out = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, key_heads, heads // key_heads, width),
        key,
        value,
        attn_mask=attention_mask,
        scale=options.get("scaling"),
    )
    return out.reshape(rows, 1, heads, out.shape[-1]), None
