"""Rows straight from a model's forward pass, without a disk: a unit is a trace, and every pass over
the rows is a forward pass.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rewardscope.capturing.batches import StateSource, stream_batches
from rewardscope.capturing.inputs import TraceInput
from rewardscope.sae.train.stream import LayerBatch

# Shape legend: N rows, D width.


class _WithoutScores:
    """The model without its adapter: nobody reads scores here, so the blocks above the wanted
    layers need not run.
    """

    adapter = None

    def __init__(self, model: StateSource) -> None:
        self.tokenizer, self.n_layers, self.window, self.model = (
            model.tokenizer,
            model.n_layers,
            model.window,
            model.model,
        )


class ForwardSource:
    """The states of traces at some layers, in float32."""

    def __init__(
        self,
        model: StateSource,
        items: Sequence[TraceInput],
        layers: Sequence[int],
        *,
        width: int,
        batch_tokens: int,
    ) -> None:
        self._model, self._items, self.layers = _WithoutScores(model), list(items), tuple(layers)
        self._batch_tokens = batch_tokens
        self.width = width
        self.sizes = [len(item.positions) for item in items]

    def read(self, units: Sequence[int]) -> LayerBatch:
        parts = [acts for _, acts in self._captured([self._items[unit] for unit in units])]
        return {layer: torch.cat([part[layer] for part in parts]) for layer in self.layers}

    def held(self, codes: dict[str, int]) -> Iterator[tuple[LayerBatch, np.ndarray]]:
        """Yield the rows of each forward pass at every layer, with the problem code of each row."""
        for items, acts in self._captured(self._items):
            yield (
                acts,
                np.repeat(
                    [codes[item.problem] for item in items], [len(item.positions) for item in items]
                ),
            )

    def _captured(
        self, items: Sequence[TraceInput]
    ) -> Iterator[tuple[Sequence[TraceInput], dict[int, Tensor]]]:
        for captured in stream_batches(
            self._model, items, self.layers, dtype=torch.float32, batch_tokens=self._batch_tokens
        ):
            yield captured.items, captured.acts
