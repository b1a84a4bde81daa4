"""Go on from the states after a block, changed in each row of a batch in another way: neither the
blocks up to it nor the tokens before the first change are computed again.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from rewardscope.models.blocks import find_blocks
from rewardscope.models.cache import GrowingLayer, growing_cache
from rewardscope.models.forward import Past, run
from rewardscope.models.hooks import Enough, Hook, hooked, recorded, skipped
from rewardscope.models.sites import Site

# Shape legend: B rows, T tokens of the input, N tokens that are computed anew, D width.


class Begun(NamedTuple):
    """One input as it is, with all that rows need to go on from it."""

    ids_1T: Tensor
    layer: int
    states_TD: Tensor
    """After the block, on the model's device, in its dtype."""
    last_TD: Tensor
    """After the last block."""
    cache: Cache
    as_tuple: bool
    """Whether the blocks give several results."""


def resumes(model: PreTrainedModel) -> bool:
    """Say whether a model can go on from its states: all of its layers keep plain keys and
    values.
    """
    return all(type(layer) is GrowingLayer for layer in growing_cache(model).layers)


@torch.no_grad()
def begin(model: PreTrainedModel, ids_1T: Tensor, layer: int) -> Begun:
    """Run one input as it is. Raises: as `models.forward.run`."""
    ids_1T = ids_1T.to(model.device)
    blocks = find_blocks(model).layers
    cache, here, last = growing_cache(model), Site(layer), Site(len(blocks) - 1)
    some = torch.ones_like(ids_1T, dtype=torch.bool)
    with recorded([blocks[layer]]) as calls:
        states = run(model, ids_1T, watch=[here, last], past=Past(cache, some[:, :0], some)).states
    return Begun(ids_1T, layer, states[here][0], states[last][0], cache, calls[0].is_tuple)


@torch.no_grad()
def go_on(
    model: PreTrainedModel,
    begun: Begun,
    states_BND: Tensor,
    *,
    start: int,
    pick: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return what `pick` keeps of the states [B, N, D] after the last block, where those after the
    block of `begun` are `states_BND`, of N tokens from `start` on.
    """
    blocks, after = find_blocks(model), begun.layer + 1
    if after == len(blocks.layers):
        return pick(states_BND)
    n_rows, n_tokens, _ = states_BND.shape
    found: list[Tensor] = []

    def see(states: Tensor) -> None:
        found.append(pick(states))
        raise Enough

    hooks = [
        Hook(blocks.layers[after], "input", lambda _: states_BND),
        Hook(blocks.layers[-1], "output", see),
    ]
    stop = start + n_tokens
    with skipped(list(blocks.layers)[:after], as_tuple=begun.as_tuple), hooked(hooks):
        blocks.decoder(
            input_ids=begun.ids_1T[:, start:stop].expand(n_rows, -1),
            position_ids=torch.arange(start, stop, device=begun.ids_1T.device).expand(n_rows, -1),
            past_key_values=_beginning(model, begun, start, n_rows, n_tokens),
            use_cache=True,
        )
    return found[0]


def _beginning(
    model: PreTrainedModel, begun: Begun, start: int, n_rows: int, n_tokens: int
) -> Cache:
    """Return a cache with the first `start` tokens in each row, and room for the others behind the
    block; the layers up to it are only asked for their length.
    """
    cache = DynamicCache(config=model.config)
    layers = []
    for number, old in enumerate(begun.cache.layers):
        assert isinstance(old, GrowingLayer) and old.keys is not None and old.values is not None
        planes = [
            plane[:, :, :start].expand(n_rows, -1, -1, -1) for plane in (old.keys, old.values)
        ]
        if number > begun.layer:
            planes = [_with_room(plane, start + n_tokens) for plane in planes]
        new = GrowingLayer()
        new.fill(*planes, used=start)
        layers.append(new)
    cache.layers = layers
    return cache


def _with_room(plane: Tensor, n_tokens: int) -> Tensor:
    rows, heads, used, width = plane.shape
    buffer = plane.new_empty(rows, heads, n_tokens, width)
    buffer[:, :, :used] = plane
    return buffer
