"""Where a state of a decoder lives, and what is done to it there: the one vocabulary for scoring,
capture, attribution and interventions.
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, get_args

from torch import Tensor

from rewardscope.errors import ConfigError, UnknownName

# Shape legend: B batch, T tokens, N positions that are changed, D width.
Part = Literal["embed", "resid", "attn", "mlp", "head"]
StateChange = Callable[[Tensor], Tensor]
"""From the states [N, D] of the positions that are changed to what stands there instead.

Half precision is shown to it as float32, and what it returns is rounded back.
"""


class _Place(NamedTuple):
    layer: int
    part: Part
    head: int | None


class Site(_Place):
    """A place in a decoder; layer l is its l-th block, from 0.

    embed: what enters block 0, positions and multipliers included (`EMBED`). resid: the residual
    stream after the block, before any final norm. attn, mlp: what that sublayer adds to the stream,
    norms and multipliers behind it included. head: the slice of one head in the input of the
    attention's output projection, before any of these.
    """

    __slots__ = ()

    def __new__(cls, layer: int, part: Part = "resid", head: int | None = None) -> "Site":
        """Return the site. Raises: ConfigError where part and head do not fit together; UnknownName
        for another part.
        """
        if part not in get_args(Part):
            raise UnknownName("part of a site", str(part), get_args(Part))
        if (part == "head") != (head is not None):
            raise ConfigError(f"site {part} of layer {layer}: head is {head}; only head has one")
        return super().__new__(cls, layer, part, head)

    def __str__(self) -> str:
        return f"{self.part}.{self.layer}" + ("" if self.head is None else f".{self.head}")


EMBED = Site(0, "embed")


class Edit(NamedTuple):
    """At the positions where the mask is True, `change` of the state stands in its place."""

    site: Site
    mask_BT: Tensor
    change: StateChange


def residual(layers: Iterable[int]) -> list[Site]:
    """Return the residual stream after each of these blocks."""
    return [Site(layer) for layer in layers]
