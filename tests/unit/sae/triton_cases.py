"""The Triton kernels on CPU tensors. test_triton_kernels.py runs this file in a process of its own,
with TRITON_INTERPRET=1.
"""

import os

import pytest
import torch
from torch import Tensor

from rewardscope.sae.train import triton_kernels
from rewardscope.sae.train.sparse import Entries, TorchKernels
from rewardscope.sae.train.triton_kernels import TritonKernels

assert os.environ.get("TRITON_INTERPRET") == "1", "has to be set before triton is imported"
TORCH, TRITON = TorchKernels(), TritonKernels()
# Rows, width, features, entries of each row. One interpreted program takes 15 ms, and each row,
# feature and chunk is one: so there are few.
SHAPES = {
    "of_random_rows": (6, 24, 7, [3, 0, 7, 1, 0, 5]),
    "without_entries": (2, 16, 3, [0, 0]),
    "of_one_column": (3, 1, 4, [2, 0, 3]),
    "of_two_panels": (2, 700, 4, [3, 1]),
    "of_rows_longer_than_a_chunk": (3, 8, 40, [15, 40, 7]),
    "of_features_longer_than_a_chunk": (20, 8, 4, [1, 2, 3, 2] * 5),
    "of_features_as_long_as_a_chunk": (8, 8, 3, [3] * 8),
    "of_more_chunks_than_are_kept": (70, 3, 1, [1] * 70),
}
EXACT = {torch.float32: 1e-5, torch.float64: 1e-13}


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut bags into at most 8 chunks of at least 8 entries, so that small ones are cut too."""
    monkeypatch.setattr(triton_kernels, "_CHUNK", 8)
    monkeypatch.setattr(triton_kernels, "_MAX_CHUNKS", 8)


def sparse(name: str, *, dtype: torch.dtype) -> tuple[Entries, Tensor, Tensor]:
    """Return random entries, a table of the features and one of the rows."""
    n_rows, width, n_features, counts = SHAPES[name]
    random = torch.Generator().manual_seed(sum(counts) + width)
    # where possible, the last feature is in no row
    used = max(1, n_features - 1) if n_features > max(counts) else n_features
    features_M = torch.cat(
        [torch.randperm(used, generator=random)[:count].sort().values for count in counts]
    ).int()
    rows_M = torch.repeat_interleave(torch.arange(n_rows), torch.tensor(counts)).int()
    starts_N = torch.tensor([0, *counts]).cumsum(0).int()
    values_M = torch.randn(len(features_M), generator=random, dtype=dtype)
    W_FD = torch.randn(n_features, width, generator=random, dtype=dtype)
    g_ND = torch.randn(n_rows, width, generator=random, dtype=dtype)
    return Entries(values_M, features_M, rows_M, starts_N), W_FD, g_ND


def close(found: Tensor, expected: Tensor) -> None:
    """Sums of many entries: the error goes with the largest value, not with each one."""
    scale = expected.abs().max().item() if expected.numel() else 0.0
    atol = EXACT[expected.dtype] * max(1.0, scale)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float32) for name in SHAPES), ("of_random_rows", torch.float64)],
)
def test_every_operation_equals_that_of_torch(name: str, dtype: torch.dtype) -> None:
    entries, W_FD, x_ND = sparse(name, dtype=dtype)
    found, expected = (
        kernels.by_feature(entries.features_M, len(W_FD)) for kernels in (TRITON, TORCH)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    sums_FD = TRITON.sum_by_feature(found, entries.values_M, entries.rows_M, x_ND)
    close(sums_FD, TORCH.sum_by_feature(expected, entries.values_M, entries.rows_M, x_ND))
    assert (sums_FD[found.starts_F.diff() == 0] == 0).all()
    if len(x_ND) < 10:  # the others have long features, not long rows
        close(TRITON.decode(entries, W_FD), TORCH.decode(entries, W_FD))
        close(TRITON.dots(entries, x_ND, W_FD), TORCH.dots(entries, x_ND, W_FD))


def test_tables_in_bfloat16_are_summed_in_float32() -> None:
    entries, W_FD, g_ND = sparse("of_two_panels", dtype=torch.float32)
    W_half, g_half = W_FD.bfloat16(), g_ND.bfloat16()
    order = TORCH.by_feature(entries.features_M, len(W_FD))
    close(TRITON.decode(entries, W_half), TORCH.decode(entries, W_half.float()))
    close(TRITON.dots(entries, g_half, W_half), TORCH.dots(entries, g_half.float(), W_half.float()))
    sums_FD = TRITON.sum_by_feature(order, entries.values_M, entries.rows_M, g_half)
    close(sums_FD, TORCH.sum_by_feature(order, entries.values_M, entries.rows_M, g_half.float()))
