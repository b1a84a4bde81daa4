"""The one way in which states of a model are looked at or changed: a forward pass of its decoder.

Scoring, capture, scoring on kept prefixes and all interventions go through `run`. Inputs are padded
on the right: the models are causal, so that padding needs no mask.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from rewardscope.errors import ConfigError
from rewardscope.models.blocks import find_blocks
from rewardscope.models.cache import growing_cache, keeps_prefixes
from rewardscope.models.hooks import Enough, Hook, hooked
from rewardscope.models.sites import EMBED, Edit, Site
from rewardscope.models.sublayers import Place, find_place
from rewardscope.records import Encoded

# Shape legend: B batch, T tokens, P tokens before them, N positions that are changed, D width.
Pick = Callable[[Tensor], Tensor]
"""What is kept of the states [B, T, D] of a site."""


class Past(NamedTuple):
    """What stands before the tokens of a batch."""

    cache: Cache
    """Its keys and values; those of the new tokens are added."""
    mask_BP: Tensor
    """Which of its columns a row has; the others are padding on the left."""
    mask_BT: Tensor
    """Which of the new columns a row has."""


class Captured(NamedTuple):
    """What a forward pass gave."""

    states: dict[Site, Tensor]
    """Of each watched site what was picked of its states [B, T, D], in the model's dtype and on its
    device.
    """


def padded_ids(batch: Sequence[Encoded]) -> Tensor:
    """Return the ids [B, T] of inputs, with 0 to the right of the shorter ones."""
    return pad_sequence([torch.tensor(encoded.input_ids) for encoded in batch], batch_first=True)


def run(
    model: PreTrainedModel,
    ids_BT: Tensor,
    *,
    watch: Sequence[Site] | Mapping[Site, Pick],
    edits: Sequence[Edit] = (),
    grad: bool = False,
    shared: int = 0,
    past: Past | None = None,
) -> Captured:
    """Run right-padded ids and return the states of the watched sites, as they are after the edits.

    Edits are made in their order; rows may be variants of one input. The pass ends behind the last
    watched site, unless its keys and values are to be kept in `past`. With `grad` the states are
    part of the graph of what is computed from them. The first `shared` tokens, which must be the
    same in all rows and without edits, are computed once, where the model's attention allows it.

    Raises: UnknownName for a site that the model does not have; BadRecord for a part of a model
    whose parts cannot be told apart; ConfigError for an edit within the shared tokens.
    """
    picks = watch if isinstance(watch, Mapping) else dict.fromkeys(watch, _whole)
    ids_BT = ids_BT.to(model.device)
    with torch.set_grad_enabled(grad):
        if shared and len(ids_BT) > 1 and keeps_prefixes(model):
            return _run_shared(model, ids_BT, picks, edits, grad=grad, shared=shared)
        options: dict[str, object] = {"use_cache": False}
        if past is not None:
            options = _after(past)
        _pass(model, ids_BT, picks, edits, options, grad=grad, found=(found := {}))
    return Captured(found)


def _after(past: Past) -> dict[str, object]:
    """Return how the decoder goes on from kept keys and values."""
    start_B1 = past.mask_BP.sum(dim=1, keepdim=True)
    n_new = past.mask_BT.shape[1]
    return {
        "use_cache": True,
        "past_key_values": past.cache,
        "attention_mask": torch.cat([past.mask_BP, past.mask_BT], dim=1),
        "position_ids": start_B1 + torch.arange(n_new, device=start_B1.device),
    }


def _run_shared(
    model: PreTrainedModel,
    ids_BT: Tensor,
    picks: Mapping[Site, Pick],
    edits: Sequence[Edit],
    *,
    grad: bool,
    shared: int,
) -> Captured:
    """Run the shared beginning as one row, then what follows on its keys and values."""
    n_rows = len(ids_BT)
    assert torch.equal(ids_BT[:, :shared], ids_BT[:1, :shared].expand(n_rows, -1)), shared
    for edit in edits:
        if edit.mask_BT[:, :shared].any():
            raise ConfigError(
                f"an edit of {edit.site} is within the first {shared} tokens, which all rows share;"
                " share fewer"
            )
    # buffers that grow are written in place, which a graph does not allow
    cache = DynamicCache(config=model.config) if grad else growing_cache(model)
    begun: dict[Site, Tensor] = {}
    options: dict[str, object] = {"use_cache": True, "past_key_values": cache}
    whole = dict.fromkeys(picks, _whole)
    _pass(model, ids_BT[:1, :shared], whole, (), options, grad=grad, found=begun)
    first_B = torch.zeros(n_rows, dtype=torch.long, device=ids_BT.device)
    cache.reorder_cache(first_B)  # type: ignore[arg-type]
    position_T = torch.arange(shared, ids_BT.shape[1], device=ids_BT.device)
    options["position_ids"] = position_T.expand(n_rows, -1)

    def with_beginning(site: Site, states_BTD: Tensor) -> Tensor:
        first = begun[site].expand(n_rows, -1, -1)
        return picks[site](torch.cat([first, states_BTD], dim=1))

    later = [edit._replace(mask_BT=edit.mask_BT[:, shared:]) for edit in edits]
    joined = {site: partial(with_beginning, site) for site in picks}
    _pass(model, ids_BT[:, shared:], joined, later, options, grad=grad, found=(found := {}))
    return Captured(found)


def _pass(
    model: PreTrainedModel,
    ids_BT: Tensor,
    picks: Mapping[Site, Pick],
    edits: Sequence[Edit],
    options: Mapping[str, object],
    *,
    grad: bool,
    found: dict[Site, Tensor],
) -> None:
    """Run the decoder once and fill in what is watched."""
    keeps_keys = bool(options["use_cache"])

    def see(site: Site, place: Place, value: Tensor) -> Tensor | None:
        state = place.get(value)
        found[site] = picks[site](state)
        if not keeps_keys and len(found) == len(picks):
            raise Enough
        # what comes after must be computed from this very tensor for its gradient to be there
        return place.put(value, state) if grad and state is not value else None

    by_site: dict[Site, list[Edit]] = defaultdict(list)
    for edit in edits:
        assert edit.mask_BT.shape == ids_BT.shape, (edit.mask_BT.shape, ids_BT.shape)
        by_site[edit.site].append(edit._replace(mask_BT=edit.mask_BT.to(model.device)))
    places = {site: find_place(model, site) for site in (*by_site, *picks)}
    hooks = [_hook(find_place(model, EMBED), _with_graph)] if grad else []
    hooks += [
        _hook(places[site], partial(_edited, places[site], by_site[site])) for site in by_site
    ]
    hooks += [_hook(places[site], partial(see, site, places[site])) for site in picks]
    with hooked(hooks):
        find_blocks(model).decoder(input_ids=ids_BT, **options)


def _hook(place: Place, look: Callable[[Tensor], Tensor | None]) -> Hook:
    return Hook(place.module, "input" if place.at_input else "output", look)


def _edited(place: Place, edits: Sequence[Edit], value: Tensor) -> Tensor:
    """Return what the module takes or gives once its state is changed."""
    before = place.get(value)
    state = before.clone()
    for edit in edits:
        chosen_ND = state[edit.mask_BT]
        half = chosen_ND.dtype in (torch.bfloat16, torch.float16)
        changed_ND = edit.change(chosen_ND.float() if half else chosen_ND)
        assert changed_ND.shape == chosen_ND.shape, (changed_ND.shape, chosen_ND.shape)
        state[edit.mask_BT] = changed_ND.to(state.dtype)
    if place.scale != 1:  # what was not changed must not be rounded anew
        return value + (state - before) / place.scale
    return place.put(value, state)


def _with_graph(states_BTD: Tensor) -> Tensor | None:
    """Begin a graph where the weights of the embedding do not."""
    return None if states_BTD.requires_grad else states_BTD.detach().requires_grad_()


def _whole(states_BTD: Tensor) -> Tensor:
    return states_BTD
