"""Look into a model while it runs.

Every hook of the project is set here and removed when its context ends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from torch import Tensor, nn
from transformers import PreTrainedModel

from rewardscope.errors import UnknownName
from rewardscope.models.blocks import find_blocks

# Shape legend: B batch, T tokens, D width.


class _Enough(Exception):
    """Ends a forward pass after the last block that is looked at."""


@contextmanager
def watch(
    model: PreTrainedModel, see: Mapping[int, Callable[[Tensor], None]], *, stop: bool
) -> Iterator[None]:
    """Call `see[l]` with the states [B, T, D] after decoder block l, in each forward pass, for the
    blocks that it names.

    Layer l is the output of block l, from 0, before any final norm. Of transformers'
    `hidden_states` it is therefore entry l + 1 (entry 0 are the embeddings), but for the last
    block: the last entry is shown after the final norm. With `stop` the pass ends behind the last
    of these blocks, and with it the body of the `with` statement.
    Raises: UnknownName for a layer that the model does not have.
    """
    blocks = {layer: _block(model, layer) for layer in see}
    with ExitStack() as hooks:
        for layer, look in see.items():
            hooks.callback(
                blocks[layer]
                .register_forward_hook(_hook(look, ends=stop and layer == max(see)))
                .remove
            )
        try:
            yield
        except _Enough:
            assert stop


@contextmanager
def capture(model: PreTrainedModel, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Yield a dict that each forward pass fills with the states [B, T, D] after the wanted decoder
    blocks.

    They are those of `watch`, in the model's dtype and on its device.
    Raises: UnknownName for a layer that the model does not have.
    """
    states: dict[int, Tensor] = {}
    with watch(model, {layer: partial(states.__setitem__, layer) for layer in layers}, stop=False):
        yield states


@contextmanager
def edit(model: PreTrainedModel, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Go on with `change(states)` in place of the states [B, T, D] after decoder block `layer`, in
    each forward pass.

    A `watch` or `capture` that begins inside sees what was changed. Raises: UnknownName for a layer
    that the model does not have.
    """

    def hook(_block: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        changed = change(output)
        assert changed.shape == output.shape and changed.dtype == output.dtype, (
            changed.shape,
            changed.dtype,
        )
        return changed

    handle = _block(model, layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _block(model: PreTrainedModel, layer: int) -> nn.Module:
    """Return a decoder block. Raises: UnknownName for a layer that the model does not have."""
    blocks = find_blocks(model).layers
    if not 0 <= layer < len(blocks):
        raise UnknownName("layer", str(layer), [str(known) for known in range(len(blocks))])
    return blocks[layer]


def _hook(
    look: Callable[[Tensor], None], *, ends: bool
) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(_block: nn.Module, _inputs: object, output: Tensor) -> None:
        assert output.ndim == 3, output.shape
        look(output)
        if ends:
            raise _Enough

    return hook
