"""Which entries of a batch are active: the largest of each row, of all rows together, or those
above a floor. The activation functions choose among these pickers.

The pre-activations [n, F] exist for a few rows at a time, small enough for the cache. Each chunk is
cut at a floor that surely keeps what is wanted and little more; the survivors of all chunks are
then trimmed exactly. Only positive entries are stored.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rewardscope.sae.train.ranks import OneProcess, Ranks
from rewardscope.sae.train.sparse import Entries, starts_of

# Shape legend: N rows, n rows of a chunk, D width, F features, M stored entries.
_CHUNK = {"cpu": 1 << 22, "cuda": 1 << 27}  # pre-activations held at once
# TopOfBatch: survivors wanted per entry needed, where the floor is guessed from the first chunk
_MARGIN = 1.2


class Picker(Protocol):
    """A rule for the active features of a batch: chunks are cut at `floor`, the survivors are
    trimmed.
    """

    def floor(self, pre_nF: Tensor) -> Tensor:
        """Return what an entry must reach to be kept: above 0, of a shape that broadcasts to [n,
        F].
        """
        ...

    def trim(self, found: Entries) -> Entries | None:
        """Return the active entries, or None where the floor was too high: the next try has a lower
        one.
        """
        ...


class TopOfRow:
    """The `k` largest pre-activations of each row."""

    def __init__(self, k: int) -> None:
        self.k = k

    def floor(self, pre_nF: Tensor) -> Tensor:
        """At least k groups of features have a largest member that reaches the k-th largest of
        them, so k entries do.
        """
        k = min(self.k, pre_nF.shape[1])
        return _positive(kth_largest(_group_maxima(pre_nF, at_least=4 * k), k))[:, None]

    def trim(self, found: Entries) -> Entries:
        count_N = found.starts_N.diff()
        widest = int(count_N.max()) if len(count_N) else 0
        if widest <= self.k:
            return found
        first_N = torch.arange(len(count_N), device=count_N.device) * widest - found.starts_N[:-1]
        slot_M = torch.arange(len(found.values_M), device=count_N.device) + first_N.index_select(
            0, found.rows_M
        )
        padded_NC = found.values_M.new_full((len(count_N), widest), -torch.inf)
        padded_NC.view(-1).index_copy_(0, slot_M, found.values_M)
        keep_M = found.values_M >= kth_largest(padded_NC, self.k).index_select(0, found.rows_M)
        # equal values at the border: one of them has to go
        if int(keep_M.sum()) != int(count_N.clamp(max=self.k).sum()):
            chosen_NC = torch.zeros_like(padded_NC, dtype=torch.bool).scatter_(
                1, padded_NC.topk(self.k, dim=1).indices, True
            )
            keep_M = chosen_NC.view(-1).index_select(0, slot_M)
        return keep(found, keep_M)


class TopOfBatch:
    """The `k` N largest pre-activations of N rows together, which `ranks` may share; of equal ones
    the first.

    Source: arXiv 2412.06410.
    """

    def __init__(self, k: int, n_rows: int, *, ranks: Ranks | None = None) -> None:
        self.k, self.n_rows, self._ranks = k, n_rows, ranks or OneProcess()
        self._floor: Tensor | None = None
        self._margin = _MARGIN

    def floor(self, pre_nF: Tensor) -> Tensor:
        if self._floor is None:
            wanted = min(int(self._margin * self.k * len(pre_nF)), pre_nF.numel())
            self._floor = self._ranks.minimum_(_positive(kth_largest(pre_nF.flatten(), wanted)))
        return self._floor

    def trim(self, found: Entries) -> Entries | None:
        assert self._floor is not None
        wanted = self.k * self.n_rows
        everywhere, start = self._ranks.gather(found.values_M)
        if len(everywhere) < wanted:
            if self._floor <= torch.finfo(self._floor.dtype).tiny:
                return found  # no more are positive
            self._floor, self._margin = None, 2 * self._margin
            return None
        least = kth_largest(everywhere, wanted)
        keep_M = everywhere >= least
        if int(keep_M.sum()) != wanted:
            above_M, equal_M = everywhere > least, everywhere == least
            keep_M = above_M | (equal_M & (equal_M.cumsum(0) <= wanted - above_M.sum()))
        return keep(found, keep_M[start : start + len(found.values_M)])


class AboveFloor:
    """Every pre-activation that reaches its feature's floor.

    A floor at or below 0 means above 0.
    """

    def __init__(self, floor_F: Tensor) -> None:
        self.floor_F = _positive(floor_F)

    def floor(self, pre_nF: Tensor) -> Tensor:
        return self.floor_F

    def trim(self, found: Entries) -> Entries:
        return found


class OnSubset:
    """Another picker's choice among the features at `indices` alone, on every `stride`-th row of
    the batch from the first.
    """

    def __init__(self, picker: Picker, features: Tensor, *, row_stride: int) -> None:
        self.picker, self.features, self.row_stride = picker, features, row_stride


@torch.no_grad()
def encode(
    x_ND: Tensor,
    W_enc_FD: Tensor,
    b_enc_F: Tensor,
    pickers: Sequence[Picker | OnSubset],
    *,
    bf16: bool,
) -> list[Entries]:
    """Return for each picker the entries that it chooses from x W^T + b; their values are
    pre-activations.

    With `bf16` the product is made of bfloat16 copies.
    """
    found: list[Entries | None] = [None] * len(pickers)
    while any(entries is None for entries in found):
        missing = [index for index, entries in enumerate(found) if entries is None]
        parts: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {index: [] for index in missing}
        for start, pre_nF in pre_activations(x_ND, W_enc_FD, b_enc_F, bf16=bf16):
            for index in missing:
                parts[index].append(_above_floor(pre_nF, pickers[index], start))
        for index in missing:
            chosen = pickers[index]
            found[index] = (chosen.picker if isinstance(chosen, OnSubset) else chosen).trim(
                _join(parts[index], len(x_ND))
            )
    return [entries for entries in found if entries is not None]


def keep(entries: Entries, mask_M: Tensor) -> Entries:
    """Return the entries of a mask, still row after row."""
    at = _flat_nonzero(mask_M)
    values_M, features_M, rows_M = (column.index_select(0, at) for column in entries[:3])
    return Entries(values_M, features_M, rows_M, starts_of(rows_M, len(entries.starts_N) - 1))


def pre_activations(
    x_ND: Tensor, W_enc_FD: Tensor, b_enc_F: Tensor, *, bf16: bool
) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row and the pre-activations [n, F] of each chunk, in one buffer that the next
    chunk overwrites.
    """
    n_chunk = max(1, min(len(x_ND), _CHUNK[x_ND.device.type] // len(W_enc_FD)))
    buffer_nF = x_ND.new_empty(n_chunk, len(W_enc_FD))
    W_DF = (W_enc_FD.bfloat16() if bf16 else W_enc_FD).T
    for start in range(0, len(x_ND), n_chunk):
        chunk_nD = x_ND[start : start + n_chunk]
        if bf16:
            yield start, (chunk_nD.bfloat16() @ W_DF) + b_enc_F
        else:
            yield start, torch.addmm(b_enc_F, chunk_nD, W_DF, out=buffer_nF[: len(chunk_nD)])


def _above_floor(
    pre_nF: Tensor, picker: Picker | OnSubset, start: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, features and rows of the entries that reach the floor, row after row."""
    if isinstance(picker, OnSubset):
        first = -start % picker.row_stride
        some_nF = pre_nF[first :: picker.row_stride]
        # half the time of index_select
        chosen_nF = some_nF.gather(1, picker.features.expand(len(some_nF), -1))
        values, features, rows = _above_floor(chosen_nF, picker.picker, 0)
        return (
            values,
            picker.features.index_select(0, features).int(),
            rows * picker.row_stride + (start + first),
        )
    at = _reached(pre_nF, picker.floor(pre_nF))
    n_features = pre_nF.shape[1]
    rows = at // n_features
    return (
        pre_nF.flatten().index_select(0, at),
        (at - rows * n_features).int(),
        (rows + start).int(),
    )


def _join(parts: list[tuple[Tensor, Tensor, Tensor]], n_rows: int) -> Entries:
    values_M, features_M, rows_M = (torch.cat(column) for column in zip(*parts, strict=True))
    return Entries(values_M, features_M, rows_M, starts_of(rows_M, n_rows))


def _reached(values: Tensor, floor: Tensor) -> Tensor:
    """Return the flat positions of the values that reach the floor; numpy takes half of torch's
    time on the CPU.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(values.numpy() >= floor.numpy()))
    return _flat_nonzero(values >= floor)


def _flat_nonzero(mask: Tensor) -> Tensor:
    return (
        torch.from_numpy(np.flatnonzero(mask.numpy()))
        if mask.device.type == "cpu"
        else mask.flatten().nonzero().flatten()
    )


def kth_largest(values: Tensor, k: int) -> Tensor:
    """Return the k-th largest along the last dimension; numpy's selection is many times faster than
    a sort or torch's topk.
    """
    if values.device.type != "cpu":
        return values.topk(k, dim=-1).values[..., -1]
    at = values.shape[-1] - k
    return torch.from_numpy(np.asarray(np.partition(values.numpy(), at, axis=-1)[..., at]).copy())


def _group_maxima(pre_nF: Tensor, *, at_least: int) -> Tensor:
    """Return the largest of each group of features [n, groups]: groups of equal size, strided, and
    what is left one by one.

    Groups of less than 8 would save less than it takes to trim what they let through.
    """
    n_features = pre_nF.shape[1]
    size = next((size for size in (32, 16, 8) if n_features // size >= at_least), 1)
    if size == 1:
        return pre_nF
    whole = n_features - n_features % size
    maxima = pre_nF[:, :whole].unflatten(1, (size, whole // size)).amax(dim=1)
    return maxima if whole == n_features else torch.cat([maxima, pre_nF[:, whole:]], dim=1)


def _positive(floor: Tensor) -> Tensor:
    return floor.clamp(min=torch.finfo(floor.dtype).tiny)
