"""TopK: the k largest pre-activations of each row. Source: arXiv 2406.04093 section 2.3."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardscope.sae.train.activations.base import Activation

if TYPE_CHECKING:
    from rewardscope.sae.train.layer import LayerSae
    from rewardscope.sae.train.pickers import Picker
    from rewardscope.sae.train.ranks import Ranks


@dataclass(frozen=True)
class TopK(Activation):
    """The same rule in training and after."""

    name = "topk"

    def picker(self, layer: "LayerSae", n_rows: int, *, ranks: "Ranks") -> "Picker":
        from rewardscope.sae.train.pickers import TopOfRow

        return TopOfRow(layer.k)
