"""The threshold that leaves k features active a row, counted exactly on some rows.

For SAEs that choose by batch in training and have to choose by row afterwards. Found with the final
weights, in float32, as the saved SAE is used.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from rewardscope.sae.train.layer import LayerSae
from rewardscope.sae.train.pickers import kth_largest, pre_activations

# Shape legend: N rows, n rows of a chunk, D width, F features, M values.
CALIBRATION_ROWS = 65_536


class LargestValues:
    """The `count` largest positive values of all that are added, in memory for twice as many and
    one chunk.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[Tensor] = []
        self._n_kept = 0
        self._floor = 0.0

    def add(self, values: Tensor) -> None:
        """Add values of any shape."""
        found_M = values[values > self._floor]
        self._kept.append(found_M)
        self._n_kept += len(found_M)
        if self._n_kept > 2 * self.count:
            self._trim()

    def least(self) -> float:
        """Return the smallest of them: the `count`-th largest value, or 0 where fewer were
        positive.
        """
        return self._trim() if self._n_kept >= self.count else 0.0

    def _trim(self) -> float:
        values_M = torch.cat(self._kept)
        self._floor = float(kth_largest(values_M, self.count))
        # of values equal to the floor as many as count; later ones cannot change it
        above_M = values_M[values_M > self._floor]
        equal_M = values_M.new_full((self.count - len(above_M),), self._floor)
        self._kept, self._n_kept = [above_M, equal_M], self.count
        return self._floor


def batch_thresholds(
    layers: Mapping[int, LayerSae], batches: Iterable[Mapping[int, Tensor]], *, n_rows: int
) -> dict[int, float]:
    """Return for each layer the k N-th largest pre-activation of the N = `n_rows` rows of
    `batches`, which are scaled as in training.
    """
    largest = {layer: LargestValues(sae.k * n_rows) for layer, sae in layers.items()}
    for batch in batches:
        for layer, sae in layers.items():
            centred_ND = batch[layer] - sae.b_dec_D
            for _, pre_nF in pre_activations(centred_ND, sae.W_enc_FD, sae.b_enc_F, bf16=False):
                largest[layer].add(pre_nF)
    return {layer: values.least() for layer, values in largest.items()}
