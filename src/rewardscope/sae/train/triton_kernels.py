"""The sparse operations of a training step as Triton kernels: the GPU's `Kernels`, and two fused
ones beyond them.

A gathered table is read in panels of columns narrow enough to stay in the GPU's second-level cache,
so that each of its rows comes from memory once and not once per entry. Every sum has one fixed
order: no atomics, and the same result each time. Sums are made in float32, whatever the tables are
stored in (float64 stays float64).

On the CPU the same kernels run under TRITON_INTERPRET=1, which has to be set before triton is
imported.
"""

from typing import Any, NamedTuple

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


class AdamRows(NamedTuple):
    """A weight and its two moments, updated in place; `step` counts from 1, this one included."""

    weights_FD: Tensor
    mean_FD: Tensor
    square_FD: Tensor
    step: int
    lr: float
    betas: tuple[float, float]
    eps: float


class Errors(NamedTuple):
    """What `decode_errors` gives: decoded rows less the target, each entry's product of its error
    row and its row of W, and |error|^2.
    """

    errors_ND: Tensor
    dots_M: Tensor
    square_N: Tensor


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

    def sum_by_feature_into_adam(
        self, order: ByFeature, values_M: Tensor, rows_M: Tensor, x_ND: Tensor, adam: AdamRows
    ) -> None:
        """Take the step of Adam whose gradient `sum_by_feature` would return, without storing that
        gradient.

        Every feature moves, also those without entries. Not for a gradient that is clipped or
        summed over processes first.
        """
        rows_M, values_M = (
            rows_M.index_select(0, order.order_M),
            values_M.index_select(0, order.order_M),
        )
        _bag_adam_steps(rows_M, values_M, order.starts_F, x_ND, adam)

    def decode_errors(self, entries: Entries, W_FD: Tensor, target_ND: Tensor) -> Errors:
        """Return `decode` less `target_ND`, and `dots` of that error, in one pass over W.

        A panel of the error needs that panel of W alone, so the second read of each of its rows
        finds it in the cache.
        """
        assert target_ND.is_contiguous() and W_FD.is_contiguous(), (
            target_ND.stride(),
            W_FD.stride(),
        )
        dtype = _sum_type(entries.values_M)
        errors_ND, square_N = (
            target_ND.new_empty(target_ND.shape, dtype=dtype),
            target_ND.new_zeros(len(target_ND), dtype=dtype),
        )
        dots_M = target_ND.new_zeros(len(entries.values_M), dtype=dtype)
        width, blocks = W_FD.shape[1], _blocks(W_FD)
        with torch.cuda.device_of(W_FD):
            for first in range(0, width, blocks["PANEL"]):
                _decode_errors[(len(target_ND),)](
                    errors_ND,
                    dots_M,
                    square_N,
                    entries.features_M,
                    entries.values_M,
                    entries.starts_N,
                    W_FD,
                    target_ND,
                    first,
                    width,
                    **blocks,
                )
        return Errors(errors_ND, dots_M, square_N)


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


def _bag_adam_steps(
    indices_M: Tensor, weights_M: Tensor, starts_R: Tensor, table_TD: Tensor, adam: AdamRows
) -> None:
    assert all(tensor.is_contiguous() for tensor in adam[:3]), [
        tensor.stride() for tensor in adam[:3]
    ]
    n_bags, width, blocks = len(starts_R) - 1, table_TD.shape[1], _blocks(table_TD)
    chunk, chunks_CD = _whole_chunks(indices_M, weights_M, starts_R, table_TD)
    (beta1, beta2), root = adam.betas, (1 - adam.betas[1] ** adam.step) ** 0.5
    with torch.cuda.device_of(table_TD):
        _bags_into_adam[(n_bags, -(-width // blocks["PANEL"]))](
            *adam[:3],
            indices_M,
            weights_M,
            starts_R,
            table_TD,
            chunks_CD,
            chunk,
            width,
            adam.lr / (1 - beta1**adam.step),
            1 - beta1,
            1 - beta2,
            root,
            adam.eps,
            **blocks,
        )


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
def _store_dots(dots, features, table, row, start, end, d, width, TILE: tl.constexpr):
    """Add to the entries from start to end the products of `row` [PANEL] and their rows of the
    table.
    """
    for first in range(start, end, TILE):
        at = first + tl.arange(0, TILE)
        feature = tl.load(features + at, mask=at < end, other=0).to(tl.int64)
        inside = (at < end)[:, None] & (d < width)[None, :]
        rows = tl.load(table + feature[:, None] * width + d[None, :], mask=inside, other=0).to(
            row.dtype
        )
        before = tl.load(dots + at, mask=at < end, other=0)
        tl.store(dots + at, before + tl.sum(rows * row[None, :], axis=1), mask=at < end)


@triton.jit
def _bag(
    dtype: tl.constexpr,
    indices,
    weights,
    starts,
    table,
    chunk_sums,
    chunk,
    d,
    width,
    TILE: tl.constexpr,
    PANEL: tl.constexpr,
):
    """Return the sum [PANEL] of this program's bag: its ends entry by entry, what lies between by
    whole chunks.
    """
    start, end = tl.load(starts + tl.program_id(0)), tl.load(starts + tl.program_id(0) + 1)
    first_chunk, end_chunk = (start + chunk - 1) // chunk, end // chunk
    split = first_chunk < end_chunk
    head_end = tl.where(split, first_chunk * chunk, end)
    tail_start = tl.where(split, end_chunk * chunk, end)
    sums = tl.full((TILE, PANEL), 0, dtype)
    sums = _add_rows(sums, indices, weights, table, start, head_end, d, width, TILE)
    sums = _add_rows(sums, indices, weights, table, tail_start, end, d, width, TILE)
    for first in range(first_chunk, end_chunk, TILE):
        at = first + tl.arange(0, TILE)
        inside = (at < end_chunk)[:, None] & (d < width)[None, :]
        sums += tl.load(
            chunk_sums + at.to(tl.int64)[:, None] * width + d[None, :], mask=inside, other=0
        )
    return tl.sum(sums, axis=0)


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
    d = tl.program_id(1) * PANEL + tl.arange(0, PANEL)
    total = _bag(
        out.dtype.element_ty,
        indices,
        weights,
        starts,
        table,
        chunk_sums,
        chunk,
        d,
        width,
        TILE,
        PANEL,
    )
    tl.store(out + tl.program_id(0).to(tl.int64) * width + d, total, mask=d < width)


@triton.jit
def _bags_into_adam(
    p,
    m,
    v,
    indices,
    weights,
    starts,
    table,
    chunk_sums,
    chunk,
    width,
    lr,
    rest1,
    rest2,
    root,
    eps,
    TILE: tl.constexpr,
    PANEL: tl.constexpr,
):
    """Adam with its bias corrections:

    `lr` holds that of the mean, `root` is the root of the square's; rest = 1 - beta.
    """
    d = tl.program_id(1) * PANEL + tl.arange(0, PANEL)
    gradient = _bag(
        chunk_sums.dtype.element_ty,
        indices,
        weights,
        starts,
        table,
        chunk_sums,
        chunk,
        d,
        width,
        TILE,
        PANEL,
    )
    at = tl.program_id(0).to(tl.int64) * width + d
    old_mean, old_square = (
        tl.load(m + at, mask=d < width, other=0),
        tl.load(v + at, mask=d < width, other=0),
    )
    mean = old_mean + rest1 * (gradient - old_mean)
    square = old_square + rest2 * (gradient * gradient - old_square)
    tl.store(m + at, mean, mask=d < width)
    tl.store(v + at, square, mask=d < width)
    tl.store(
        p + at,
        tl.load(p + at, mask=d < width, other=0) - lr * mean / (tl.sqrt(square) / root + eps),
        mask=d < width,
    )


@triton.jit
def _dots(
    dots, features, starts, g, table, first_d, width, TILE: tl.constexpr, PANEL: tl.constexpr
):
    d = first_d + tl.arange(0, PANEL)
    start, end = tl.load(starts + tl.program_id(0)), tl.load(starts + tl.program_id(0) + 1)
    row = tl.load(g + tl.program_id(0).to(tl.int64) * width + d, mask=d < width, other=0).to(
        dots.dtype.element_ty
    )
    _store_dots(dots, features, table, row, start, end, d, width, TILE)


@triton.jit
def _decode_errors(
    errors,
    dots,
    squares,
    features,
    values,
    starts,
    table,
    target,
    first_d,
    width,
    TILE: tl.constexpr,
    PANEL: tl.constexpr,
):
    d = first_d + tl.arange(0, PANEL)
    row = tl.program_id(0).to(tl.int64)
    start, end = tl.load(starts + row), tl.load(starts + row + 1)
    sums = tl.full((TILE, PANEL), 0, errors.dtype.element_ty)
    sums = _add_rows(sums, features, values, table, start, end, d, width, TILE)
    error = tl.sum(sums, axis=0) - tl.load(target + row * width + d, mask=d < width, other=0).to(
        sums.dtype
    )
    tl.store(errors + row * width + d, error, mask=d < width)
    tl.store(squares + row, tl.load(squares + row) + tl.sum(error * error, axis=0))
    _store_dots(dots, features, table, error, start, end, d, width, TILE)
