"""Look into a model while it runs. Every hook of the project is set here and removed when its context ends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn
from transformers import PreTrainedModel

from rewardscope.errors import UnknownName
from rewardscope.models.blocks import find_blocks

# Shape legend: B batch, T tokens, D width.


@contextmanager
def capture(model: PreTrainedModel, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Yield a dict that each forward pass fills with the states [B, T, D] after the wanted decoder blocks.

    Layer l is the output of block l, from 0, before any final norm, in the model's dtype and on its device.
    Raises: UnknownName for a layer that the model does not have.
    """
    blocks = find_blocks(model).layers
    for layer in layers:
        if not 0 <= layer < len(blocks):
            raise UnknownName("layer", str(layer), [str(known) for known in range(len(blocks))])
    states: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(blocks[layer].register_forward_hook(_keep(states, layer)).remove)
        yield states


def _keep(states: dict[int, Tensor], layer: int) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(_block: nn.Module, _inputs: object, output: Tensor) -> None:
        assert output.ndim == 3, output.shape
        states[layer] = output

    return hook
