"""The forward passes of token injection: variants of a text are rows of a batch, and what stands
before the first injected token is computed once.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from rewardscope.features.injection import Injected, Text, Variant, draw_gaps, plan_units, put_in
from rewardscope.features.injection import windows as windows_of
from rewardscope.features.injection_table import STRATEGIES, Strategy
from rewardscope.features.injection_units import Injectable, narrowed
from rewardscope.log import progress
from rewardscope.models.forward import padded_ids, run
from rewardscope.models.sites import Site
from rewardscope.records import Encoded
from rewardscope.sae.model.inference import Sae

# Shape legend: B rows of a batch, T tokens, L tokens of a solution, W windows, F features that are
# looked at.
MIN_SHARED = 0.25  # of a row's tokens: below it a shared beginning costs more than it saves


class _Row(NamedTuple):
    """A variant to run, and the place of the feature that it is for."""

    variant: Variant
    place: int
    strategy: int
    is_control: bool


def measure(
    model: PreTrainedModel,
    sae: Sae,
    texts: Sequence[Text],
    features: Sequence[int],
    units: Sequence[dict[Strategy, Injectable]],
    *,
    size: int,
    seed: int,
    dtype: torch.dtype,
    batch_tokens: int,
) -> Injected:
    """Run every text plain, and for each feature and strategy with its tokens and with the
    control's in it.

    `size` is the length of a window in tokens, `dtype` that in which states are kept in the folder
    of reasoning text.
    """
    encode = _Encoder(sae, features, dtype)
    shape = (len(STRATEGIES), len(texts), len(features))
    injected, control = np.full(shape, np.nan), np.full(shape, np.nan)
    plain_TF, windows_T = np.zeros(shape[1:]), np.zeros(len(texts), dtype=np.int64)
    for number, text in enumerate(progress(texts, f"inject layer {sae.layer}", unit="text")):
        window_L = windows_of(text.stop - text.start, size)
        windows_T[number] = window_L[-1] + 1
        # a text's places and units depend on no other text
        gaps = draw_gaps(window_L, np.random.default_rng([seed, number]))
        shared = text.start + gaps[0]
        rows = _rows(text, window_L, gaps, units, seed=[seed, number])
        whole = Variant(text.ids, window_L)
        values = _values(model, encode, [whole], text.start, shared=0)
        plain_TF[number] = _peaks(values[0], window_L).sum(axis=0)
        for batch in _batches(rows, batch_tokens):
            variants = [row.variant for row in batch]
            all_values = _values(model, encode, variants, text.start, shared=shared)
            for row, values_LF in zip(batch, all_values, strict=True):
                total = _peaks(values_LF[:, [row.place]], row.variant.window_L).sum()
                into = control if row.is_control else injected
                into[row.strategy, number, row.place] = total
    return Injected([text.problem for text in texts], windows_T, plain_TF, injected, control)


def _rows(
    text: Text,
    window_L: NDArray,
    gaps: Sequence[int],
    units: Sequence[dict[Strategy, Injectable]],
    *,
    seed: Sequence[int],
) -> list[_Row]:
    rows = []
    for place, of_feature in enumerate(units):
        for strategy, given in of_feature.items():
            number = STRATEGIES.index(strategy)
            rng = np.random.default_rng([*seed, place, number])
            for is_control, chosen in enumerate(plan_units(given, len(gaps), rng)):
                variant = put_in(text, window_L, gaps, chosen)
                rows.append(_Row(variant, place, number, bool(is_control)))
    return sorted(rows, key=lambda row: len(row.variant.ids))


def _batches(rows: Sequence[_Row], batch_tokens: int) -> Iterator[list[_Row]]:
    batch: list[_Row] = []
    for row in rows:  # the shortest first
        if batch and len(row.variant.ids) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


class _Encoder:
    """Gives activations of the features that are looked at."""

    def __init__(self, sae: Sae, features: Sequence[int], dtype: torch.dtype) -> None:
        self.layer, self._dtype, self._n = sae.layer, dtype, len(features)
        self._sae, place_F = narrowed(sae, features)
        self._place_F = torch.from_numpy(place_F).to(sae.b_enc_F.device)

    def __call__(self, states_ND: torch.Tensor) -> torch.Tensor:
        """Return activations [N, F]."""
        codes = self._sae.encode(states_ND.to(self._dtype).float())
        place_NK = self._place_F[codes.indices_NK]
        # those of other features go to a column that is left out
        place_NK = torch.where((place_NK >= 0) & (codes.values_NK > 0), place_NK, self._n)
        values = codes.values_NK.new_zeros(len(states_ND), self._n + 1)
        return values.scatter_(1, place_NK, codes.values_NK)[:, : self._n]


@torch.no_grad()
def _values(
    model: PreTrainedModel, encode: _Encoder, batch: Sequence[Variant], start: int, *, shared: int
) -> list[NDArray[np.float32]]:
    """Return the activations [L, F] on the solution of each variant."""
    ids_BT = padded_ids(
        [Encoded(input_ids=one.ids, step_ends=(len(one.ids) - 1,)) for one in batch]
    )
    if shared < MIN_SHARED * ids_BT.shape[1]:
        shared = 0
    site = Site(encode.layer)
    states_BTD = run(model, ids_BT, watch=[site], shared=shared).states[site]
    lengths = [len(one.window_L) for one in batch]
    states_ND = torch.cat(
        [states_BTD[row, start : start + length] for row, length in enumerate(lengths)]
    )
    values_NF = encode(states_ND).cpu().numpy()
    return np.split(values_NF, np.cumsum(lengths)[:-1])


def _peaks(values_LF: NDArray, window_L: NDArray) -> NDArray[np.float64]:
    """Return the maxima [W, F] of the windows."""
    peak_WF = np.zeros((int(window_L[-1]) + 1, values_LF.shape[1]))
    np.maximum.at(peak_WF, window_L, values_LF)
    return peak_WF
