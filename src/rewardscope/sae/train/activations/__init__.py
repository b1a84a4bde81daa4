"""The activation functions that `train-sae` knows. A new one: a file like those here, and its line
in each of the three tables below.
"""

from dataclasses import dataclass, fields
from typing import Literal

from rewardscope.sae.train.activations.base import Activation
from rewardscope.sae.train.activations.batchtopk import BatchTopK
from rewardscope.sae.train.activations.jumprelu import JumpRelu, JumpReluFlags
from rewardscope.sae.train.activations.matryoshka import Matryoshka, MatryoshkaFlags
from rewardscope.sae.train.activations.topk import TopK

ActivationName = Literal["topk", "batchtopk", "jumprelu", "matryoshka"]
ACTIVATIONS: dict[ActivationName, type[Activation]] = {
    "topk": TopK,
    "batchtopk": BatchTopK,
    "jumprelu": JumpRelu,
    "matryoshka": Matryoshka,
}


@dataclass(frozen=True, kw_only=True)
class ActivationFlags(JumpReluFlags, MatryoshkaFlags):
    """The flags of all activation functions, for the config of a task."""

    def __post_init__(self) -> None:
        for name in ACTIVATIONS:
            activation_of(name, self)


def activation_of(name: ActivationName, flags: ActivationFlags) -> Activation:
    """Return an activation function with its flags. Raises: ConfigError."""
    chosen = ACTIVATIONS[name]
    return chosen(**{field.name: getattr(flags, field.name) for field in fields(chosen)})
