"""The sparse operations of a training step as Triton kernels: the GPU's `Kernels`.

A gathered table is read in panels of columns narrow enough to stay in the GPU's second-level cache,
so that each of its rows comes from memory once and not once per entry. Every sum has one fixed
order: no atomics, and the same result each time. Sums are made in float32, whatever the tables are
stored in (float64 stays float64).

On the CPU the same kernels run under TRITON_INTERPRET=1, which has to be set before triton is
imported.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rewardscope.sae.train.sparse import ByFeature, Entries

# Shape legend: N rows, D width, F features, M stored entries, R bags of entries, T table rows, C
# chunks of entries.
_PANEL_BYTES = 16 << 20  # of a table read by all programs at once; an H200 has two halves of 25 MB
_TILE = 2048  # elements gathered at once by one program of four warps
_CHUNK = 256  # entries: bags much longer than this are summed by several programs
_MAX_CHUNKS = 4096  # bounds the memory for their sums


class TritonKernels:
    """The operations on a CUDA device.

    Tensors are contiguous; row and feature numbers are int32, as `Entries` has them.
    """

    def decode(self, entries: Entries, W_FD: Tensor) -> Tensor:
        return _bag_sums(entries.features_M, entries.values_M, entries.starts_N, W_FD)

    def dots(self, entries: Entries, g_ND: Tensor, W_FD: Tensor) -> Tensor:
        assert g_ND.is_contiguous() and W_FD.is_contiguous(), (g_ND.stride(), W_FD.stride())
        dots_M = g_ND.new_zeros(len(entries.values_M), dtype=_sum_type(g_ND))
        width, blocks = W_FD.shape[1], _blocks(W_FD)
        with torch.cuda.device_of(W_FD):
            for first in range(0, width, blocks["PANEL"]):
                _dots[(len(g_ND),)](
                    dots_M, entries.features_M, entries.starts_N, g_ND, W_FD, first, width, **blocks
                )
        return dots_M

    def by_feature(self, features_M: Tensor, n_features: int) -> ByFeature:
        keys_M, order_M = features_M.sort(stable=True)
        bounds = torch.arange(n_features + 1, dtype=keys_M.dtype, device=keys_M.device)
        # bincount would wait for the device
        return ByFeature(order_M, torch.searchsorted(keys_M, bounds, out_int32=True))

    def sum_by_feature(
        self, order: ByFeature, values_M: Tensor, rows_M: Tensor, x_ND: Tensor
    ) -> Tensor:
        rows_M, values_M = (
            rows_M.index_select(0, order.order_M),
            values_M.index_select(0, order.order_M),
        )
        return _bag_sums(rows_M, values_M, order.starts_F, x_ND)


def _bag_sums(indices_M: Tensor, weights_M: Tensor, starts_R: Tensor, table_TD: Tensor) -> Tensor:
    """Return for each bag of entries [R, D] the weighted sum of the table's rows;

    `starts_R` is one longer than there are bags.
    """
    n_bags, width, blocks = len(starts_R) - 1, table_TD.shape[1], _blocks(table_TD)
    sums_RD = table_TD.new_empty(n_bags, width, dtype=_sum_type(weights_M))
    chunk, chunks_CD = _whole_chunks(indices_M, weights_M, starts_R, table_TD)
    with torch.cuda.device_of(table_TD):
        _bags[(n_bags, -(-width // blocks["PANEL"]))](
            sums_RD, indices_M, weights_M, starts_R, table_TD, chunks_CD, chunk, width, **blocks
        )
    return sums_RD


def _whole_chunks(
    indices_M: Tensor, weights_M: Tensor, starts_R: Tensor, table_TD: Tensor
) -> tuple[int, Tensor]:
    """Cut the entries into chunks of equal size, and return that size and the sums [C, D] of chunks
    that lie inside one bag.

    The rows of other chunks stay unset. A bag adds the sums of its whole chunks to what is left at
    its ends.
    """
    chunk = max(_CHUNK, _power_of_2(len(indices_M) // _MAX_CHUNKS))
    n_chunks, width, blocks = len(indices_M) // chunk, table_TD.shape[1], _blocks(table_TD)
    chunks_CD = table_TD.new_empty(n_chunks, width, dtype=_sum_type(weights_M))
    if n_chunks:
        first_C = torch.arange(
            0, n_chunks * chunk, chunk, dtype=starts_R.dtype, device=starts_R.device
        )
        bag_C = torch.searchsorted(starts_R[1:], first_C, right=True, out_int32=True)
        with torch.cuda.device_of(table_TD):
            _chunks[(n_chunks, -(-width // blocks["PANEL"]))](
                chunks_CD, bag_C, indices_M, weights_M, starts_R, table_TD, chunk, width, **blocks
            )
    return chunk, chunks_CD


def _blocks(table_TD: Tensor) -> dict[str, Any]:
    """Return how many columns of a table one program takes, and how many of its rows it gathers at
    once.
    """
    assert table_TD.is_contiguous(), table_TD.stride()
    panel = 512
    while panel > 128 and len(table_TD) * panel * table_TD.element_size() > _PANEL_BYTES:
        panel //= 2
    panel = min(panel, _power_of_2(table_TD.shape[1]))
    return {"TILE": min(32, _TILE // panel), "PANEL": panel}


def _power_of_2(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()


def _sum_type(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


@triton.jit
def _add_rows(sums, indices, weights, table, start, end, d, width, TILE: tl.constexpr):
    """Add the entries from start to end, TILE at a time, each to one row of `sums` [TILE,
    PANEL].
    """
    for first in range(start, end, TILE):
        at = first + tl.arange(0, TILE)
        index = tl.load(indices + at, mask=at < end, other=0).to(tl.int64)
        weight = tl.load(weights + at, mask=at < end, other=0).to(sums.dtype)
        inside = (at < end)[:, None] & (d < width)[None, :]
        sums += weight[:, None] * tl.load(
            table + index[:, None] * width + d[None, :], mask=inside, other=0
        ).to(sums.dtype)
    return sums


@triton.jit
def _chunks(
    out,
    bags,
    indices,
    weights,
    starts,
    table,
    chunk,
    width,
    TILE: tl.constexpr,
    PANEL: tl.constexpr,
):
    start = tl.program_id(0) * chunk
    d = tl.program_id(1) * PANEL + tl.arange(0, PANEL)
    if tl.load(starts + tl.load(bags + tl.program_id(0)) + 1) >= start + chunk:
        sums = tl.full((TILE, PANEL), 0, out.dtype.element_ty)
        sums = _add_rows(sums, indices, weights, table, start, start + chunk, d, width, TILE)
        tl.store(
            out + tl.program_id(0).to(tl.int64) * width + d, tl.sum(sums, axis=0), mask=d < width
        )


@triton.jit
def _bags(
    out,
    indices,
    weights,
    starts,
    table,
    chunk_sums,
    chunk,
    width,
    TILE: tl.constexpr,
    PANEL: tl.constexpr,
):
    """Sum this program's bag: its ends entry by entry, what lies between by whole chunks."""
    d = tl.program_id(1) * PANEL + tl.arange(0, PANEL)
    start, end = tl.load(starts + tl.program_id(0)), tl.load(starts + tl.program_id(0) + 1)
    first_chunk, end_chunk = (start + chunk - 1) // chunk, end // chunk
    split = first_chunk < end_chunk
    head_end = tl.where(split, first_chunk * chunk, end)
    tail_start = tl.where(split, end_chunk * chunk, end)
    sums = tl.full((TILE, PANEL), 0, out.dtype.element_ty)
    sums = _add_rows(sums, indices, weights, table, start, head_end, d, width, TILE)
    sums = _add_rows(sums, indices, weights, table, tail_start, end, d, width, TILE)
    for first in range(first_chunk, end_chunk, TILE):
        at = first + tl.arange(0, TILE)
        inside = (at < end_chunk)[:, None] & (d < width)[None, :]
        sums += tl.load(
            chunk_sums + at.to(tl.int64)[:, None] * width + d[None, :], mask=inside, other=0
        )
    tl.store(out + tl.program_id(0).to(tl.int64) * width + d, tl.sum(sums, axis=0), mask=d < width)


@triton.jit
def _dots(
    dots, features, starts, g, table, first_d, width, TILE: tl.constexpr, PANEL: tl.constexpr
):
    """Add to a row's entries the products of its panel and those of their rows of the table."""
    d = first_d + tl.arange(0, PANEL)
    start, end = tl.load(starts + tl.program_id(0)), tl.load(starts + tl.program_id(0) + 1)
    row = tl.load(g + tl.program_id(0).to(tl.int64) * width + d, mask=d < width, other=0).to(
        dots.dtype.element_ty
    )
    for first in range(start, end, TILE):
        at = first + tl.arange(0, TILE)
        feature = tl.load(features + at, mask=at < end, other=0).to(tl.int64)
        inside = (at < end)[:, None] & (d < width)[None, :]
        rows = tl.load(table + feature[:, None] * width + d[None, :], mask=inside, other=0).to(
            row.dtype
        )
        before = tl.load(dots + at, mask=at < end, other=0)
        tl.store(dots + at, before + tl.sum(rows * row[None, :], axis=1), mask=at < end)
