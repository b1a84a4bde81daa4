"""BatchTopK: the k N largest pre-activations of N rows, so that rows may have more or fewer.

After training a row has to stand alone: what reaches the threshold fires. It is the value that
leaves k a row on training rows, found once with the final weights: smoothed over the batches of
training, it would lag behind weights that still change. Source: arXiv 2412.06410.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardscope.sae.train.activations.base import Activation

if TYPE_CHECKING:
    from rewardscope.sae.train.layer import LayerSae
    from rewardscope.sae.train.pickers import Picker
    from rewardscope.sae.train.ranks import Ranks


@dataclass(frozen=True)
class BatchTopK(Activation):
    """In training by batch, then by one threshold for all features."""

    name = "batchtopk"
    calibrates = True

    def picker(self, layer: "LayerSae", n_rows: int, *, ranks: "Ranks") -> "Picker":
        import torch

        from rewardscope.sae.train.pickers import TopOfBatch

        return TopOfBatch(layer.k, int(ranks.sum_(torch.tensor(n_rows))), ranks=ranks)
