"""What an activation function says about itself: all of it is in one file beside this one.

Its flags are declared there too, so these files import nothing heavy.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from rewardscope.sae.train.layer import LayerSae
    from rewardscope.sae.train.pickers import Picker
    from rewardscope.sae.train.ranks import Ranks
    from rewardscope.sae.train.sparse import Entries

# Shape legend: N rows, D width, F features, M stored entries.


class Gate(Protocol):
    """What lies between a batch's picked pre-activations and its codes, forward and back."""

    codes: "Entries"
    """The picked entries with what each adds to the reconstruction; 0 where it does not fire."""

    def backward(self, d_M: "Tensor", l0: "Tensor", n_rows: "Tensor") -> "dict[str, Tensor]":
        """Turn gradients by codes into those by pre-activations, in place in the first entries.

        Returns: the gradients of the activation function's own tensors, by name.
        """
        ...


class Open:
    """The gate where every picked entry is a code."""

    def __init__(self, picked: "Entries") -> None:
        self.codes = picked

    def backward(self, d_M: "Tensor", l0: "Tensor", n_rows: "Tensor") -> "dict[str, Tensor]":
        return {}


class Activation(Protocol):
    """Which features of an SAE are active. The fields of a class are its flags.

    `layer` is the SAE in training: its width, features, `k` and, in `extra`, the tensors that
    belong to the activation function.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]
    calibrates: ClassVar[bool] = False
    """Whether the threshold of the saved SAE is the k N-th largest pre-activation of N training
    rows, found with the final weights."""

    def picker(self, layer: "LayerSae", n_rows: int, *, ranks: "Ranks") -> "Picker":
        """Return the choice of entries for a training batch with `n_rows` rows here."""
        ...

    def prefix_ends(self, n_features: int) -> tuple[int, ...]:
        """Return the ends of the nested dictionaries, of which the last is the whole one."""
        return (n_features,)

    def extra(self, n_features: int) -> "dict[str, Tensor]":
        """Return tensors that are trained beside the weights, by name."""
        return {}

    def start(self, layer: "LayerSae", centred_ND: "Tensor") -> None:
        """Set those tensors from some rows, scaled and without the decoder's bias."""

    def gate(self, layer: "LayerSae", picked: "Entries") -> Gate:
        """Return what turns a batch's picked entries into codes."""
        return Open(picked)

    def l0_loss(self, layer: "LayerSae", l0: "Tensor") -> "Tensor | float":
        """Return the part of the loss that depends on the number of active features a row."""
        return 0.0

    def threshold(self, extra: "Mapping[str, Tensor]") -> "Tensor | None":
        """Return the threshold [F] of the saved SAE from the trained tensors.

        None: it takes the k largest of a row, or has a threshold that is calibrated.
        """
        return None
