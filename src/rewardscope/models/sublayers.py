"""Which modules of a block add to the residual stream, found by running the model and proved by the
sum.

A block of any decoder takes a state x and returns y = x + s (a + m): a comes from its attention (or
another mixer of positions), m from its MLP or experts, s is a multiplier that few families have. On
random tokens the pair of modules is sought whose results give y. It is the attention and MLP
themselves in most families, norms behind them in others (Gemma 2, OLMo 2). A block without such a
pair is refused by name.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rewardscope.errors import BadRecord, UnknownName
from rewardscope.models.blocks import Blocks, find_blocks, shape_of
from rewardscope.models.hooks import Call, recorded
from rewardscope.models.sites import Site

# Shape legend: B batch, T tokens, D width.
_PROBE_TOKENS = 8
_ROUNDING = 16  # units of the last place by which a sum of three may be off
_HEADS = {
    "linear_attention": "linear_num_value_heads",
    "full_attention": "num_attention_heads",
    "sliding_attention": "num_attention_heads",
    "chunked_attention": "num_attention_heads",
}


class Adder(NamedTuple):
    """A module whose result, times `scale`, is added to the residual stream."""

    module: nn.Module
    scale: float


class Sublayers(NamedTuple):
    """What adds to the residual stream in one block."""

    attn: Adder
    mlp: Adder
    out_proj: nn.Linear | Conv1D
    """The attention's output projection, from the heads side by side."""
    n_heads: int | None
    """None where the block mixes positions without heads."""

    def span(self, site: Site) -> slice:
        """Return where a head lies in the projection's input. Raises: UnknownName."""
        weight: Any = self.out_proj.weight
        width = weight.shape[0 if isinstance(self.out_proj, Conv1D) else 1]
        known = range(self.n_heads or 0)
        if site.head is None or site.head not in known or width % len(known):
            raise UnknownName(f"head of layer {site.layer}", str(site.head), [*map(str, known)])
        size = width // len(known)
        return slice(site.head * size, (site.head + 1) * size)


_found: WeakKeyDictionary[nn.Module, tuple[Sublayers, ...]] = WeakKeyDictionary()


def find_sublayers(model: PreTrainedModel) -> tuple[Sublayers, ...]:
    """Return what adds to the residual stream in each block; a model is run once for it.

    Raises: BadRecord where the parts of a block do not sum to what it returns.
    """
    blocks = find_blocks(model)
    if blocks.decoder not in _found:
        calls = _probe(model, blocks)
        text: Any = model.config.get_text_config()
        kinds = getattr(text, "layer_types", None) or ["full_attention"] * len(blocks.layers)
        found = []
        for layer, (block, kind) in enumerate(zip(blocks.layers, kinds, strict=True)):
            inside = set(block.modules())
            own = [call for call in calls if call.module in inside]
            heads = getattr(text, _HEADS.get(kind, ""), None)
            where = f"layer {layer} of {type(model).__name__}"
            found.append(_sublayers(block, own, heads, where=where))
        _found[blocks.decoder] = tuple(found)
    return _found[blocks.decoder]


def prove_decoder(model: PreTrainedModel) -> None:
    """Run a model on random tokens: each block must go on from the one before, the final norm from
    the last, and no state may depend on a later token.

    Raises: BadRecord that says what does not hold.
    """
    blocks = find_blocks(model)
    name = f"{type(model).__name__} cannot be looked into:"
    calls = {call.module: call for call in _probe(model, blocks)}
    chain = [calls.get(module) for module in (*blocks.layers, blocks.norm)]
    before: Tensor | None = None
    for layer, call in enumerate(chain):
        if call is None or call.given is None or call.result is None:
            raise BadRecord(f"{name} part {layer} of its decoder did not run on states")
        if before is not None and not torch.equal(before, call.given):
            raise BadRecord(f"{name} between block {layer - 1} and the next part, states change")
        before = call.result
    last = chain[-1]
    assert last is not None and last.given is not None
    one_TD, other_TD = last.given[:, :-1].float()
    if (one_TD - other_TD).norm() > torch.finfo(last.given.dtype).eps ** 0.5 * one_TD.norm():
        raise BadRecord(f"{name} its states depend on later tokens, so it is no causal decoder")


@torch.no_grad()
def _probe(model: PreTrainedModel, blocks: Blocks) -> list[Call]:
    """Run two rows of random tokens that differ in the last one; return all calls of blocks."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.config.get_text_config().vocab_size
    ids_BT = torch.randint(vocabulary, (1, _PROBE_TOKENS), generator=generator).repeat(2, 1)
    ids_BT[1, -1] = (ids_BT[1, -1] + 1) % vocabulary
    modules = [module for block in blocks.layers for module in block.modules()]
    with recorded([*modules, blocks.norm]) as calls:
        blocks.decoder(input_ids=ids_BT.to(model.device), use_cache=False)
    return calls


def _sublayers(
    block: nn.Module, calls: Sequence[Call], heads: int | None, *, where: str
) -> Sublayers:
    """Find the pair whose results sum to what the block adds."""
    whole = calls[-1]
    assert whole.module is block and whole.given is not None and whole.result is not None
    times = Counter(call.module for call in calls)
    children = set(block.children())
    adding = [
        (index, call)
        for index, call in enumerate(calls)
        if call.module in children and times[call.module] == 1
        if call.result is not None and call.result.shape == whole.result.shape
    ]
    # a multiplier of what is added is a number that the block holds
    scales = [1.0, *(value for value in vars(block).values() if type(value) is float and value)]
    best = min(
        (
            (_gap(whole, one, other, scale), number, scale, at, one, other)
            for number, (scale, ((at, one), (_, other))) in enumerate(
                (scale, pair) for scale in scales for pair in combinations(adding, 2)
            )
        ),
        default=None,
        key=lambda found: found[:2],
    )
    if best is None or best[0] > _ROUNDING * torch.finfo(whole.result.dtype).eps:
        raise BadRecord(
            f"the attention and MLP of {where} cannot be told apart: no two parts of"
            f" {type(block).__name__} sum to what it adds to its input"
        )
    _, _, scale, at, attn, mlp = best
    # the last projection to the model's width that ran before the attention's result was there
    out_proj = next(
        call.module
        for call in reversed(calls[: at + 1])
        if isinstance(call.module, nn.Linear | Conv1D)
        and call.result is not None
        and call.result.shape[-1] == whole.result.shape[-1]
    )
    return Sublayers(Adder(attn.module, scale), Adder(mlp.module, scale), out_proj, heads)


def _gap(whole: Call, attn: Call, mlp: Call, scale: float) -> float:
    """Return by how much the parts miss the block's result, as a share of what is summed."""
    x, y, a, m = (
        tensor.float()
        for tensor in (whole.given, whole.result, attn.result, mlp.result)
        if tensor is not None
    )
    size = x.abs() + abs(scale) * (a.abs() + m.abs())
    return float(((x + scale * (a + m) - y).abs() / size.clamp(min=1e-30)).max())


class Place(NamedTuple):
    """Where a site's state is while the model runs."""

    module: nn.Module
    at_input: bool
    scale: float
    span: slice

    def get(self, value: Tensor) -> Tensor:
        """Return the state in what the module takes or gives."""
        state = value if self.span == slice(None) else value[..., self.span]
        return state if self.scale == 1 else state * self.scale

    def put(self, value: Tensor, state: Tensor) -> Tensor:
        """Return what the module is to take or give for this state to be there."""
        if self.scale != 1:
            state = state / self.scale
        if self.span == slice(None):
            return state
        before, after = value[..., : self.span.start], value[..., self.span.stop :]
        return torch.cat([before, state, after], dim=-1)


def find_place(model: PreTrainedModel, site: Site) -> Place:
    """Return where a site's state is. Raises: UnknownName; BadRecord, see `find_sublayers`."""
    n_layers = shape_of(model.config).n_layers
    if not 0 <= site.layer < n_layers:
        raise UnknownName("layer", str(site.layer), [str(known) for known in range(n_layers)])
    if site.part in ("embed", "resid"):
        block = find_blocks(model).layers[site.layer]
        return Place(block, site.part == "embed", 1.0, slice(None))
    sublayers = find_sublayers(model)[site.layer]
    if site.part == "head":
        return Place(sublayers.out_proj, True, 1.0, sublayers.span(site))
    adder = sublayers.attn if site.part == "attn" else sublayers.mlp
    return Place(adder.module, False, adder.scale, slice(None))
