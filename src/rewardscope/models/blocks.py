"""Where the parts of a decoder-only model are: its blocks, its final norm, its head."""

from typing import NamedTuple

from torch import nn
from transformers import LlamaModel, MistralModel, PreTrainedConfig, PreTrainedModel, Qwen2Model

from rewardscope.errors import UnknownName

_DECODERS = (Qwen2Model, LlamaModel, MistralModel)


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


def find_blocks(model: PreTrainedModel) -> Blocks:
    """Return the parts of `model`. Raises: UnknownName for a family that is not served."""
    decoder = model.base_model
    if not isinstance(decoder, _DECODERS):
        raise UnknownName(
            "model family", type(decoder).__name__, [family.__name__ for family in _DECODERS]
        )
    # models of these families register their head after the decoder
    last = list(model.children())[-1]
    return Blocks(decoder, decoder.layers, decoder.norm, None if decoder is model else last)


def check_family(config: PreTrainedConfig) -> None:
    """Say before the weights are read whether `find_blocks` will serve a model.

    Raises: UnknownName.
    """
    known = [
        family.config_class.model_type for family in _DECODERS if family.config_class is not None
    ]
    if config.model_type not in known:
        raise UnknownName("model family", config.model_type, known)
