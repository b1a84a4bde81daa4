"""The Triton kernels on CPU tensors. test_triton_kernels.py runs this file in a process of its own,
with TRITON_INTERPRET=1.
"""

import os

import pytest
import torch
from torch import Tensor

from rewardscope.sae.train import triton_kernels
from rewardscope.sae.train.sparse import Entries, TorchKernels
from rewardscope.sae.train.triton_kernels import AdamRows, TritonKernels

assert os.environ.get("TRITON_INTERPRET") == "1", "has to be set before triton is imported"
TORCH, TRITON = TorchKernels(), TritonKernels()
# Rows, width, features, entries of each row. One interpreted program takes 15 ms, so there are few
# rows where each is a program,
# and few features where each of those is.
SMALL = {
    "of_random_rows": (6, 24, 7, [3, 0, 7, 1, 0, 5]),
    "without_entries": (2, 16, 3, [0, 0]),
    "of_one_row": (1, 33, 6, [4]),
    "of_one_column": (3, 1, 4, [2, 0, 3]),
    "of_two_panels": (2, 700, 4, [3, 1]),
}
LONG_ROWS = SMALL | {"of_rows_longer_than_a_chunk": (3, 8, 400, [150, 400, 70])}
LONG_FEATURES = SMALL | {
    "of_features_longer_than_a_chunk": (240, 8, 4, [1, 2, 3, 2] * 60),
    "of_features_as_long_as_a_chunk": (64, 8, 3, [3] * 64),
}
MANY_CHUNKS = {"of_one_feature_in_every_row": (2200, 3, 1, [1] * 2200)}
SHAPES = LONG_ROWS | LONG_FEATURES | MANY_CHUNKS
Shape = tuple[int, int, int, list[int]]


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut bags into chunks at 64 entries, so that small ones are cut too."""
    monkeypatch.setattr(triton_kernels, "_CHUNK", 64)


def sparse(
    shape: str | Shape, *, dtype: torch.dtype = torch.float32
) -> tuple[Entries, Tensor, Tensor]:
    """Return random entries, a table of the features and one of the rows."""
    n_rows, width, n_features, counts = SHAPES[shape] if isinstance(shape, str) else shape
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
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(1.0, scale))


@pytest.mark.parametrize("name", LONG_ROWS)
def test_decoded_rows_equal_those_of_torch(name: str) -> None:
    entries, W_FD, _ = sparse(name)
    close(TRITON.decode(entries, W_FD), TORCH.decode(entries, W_FD))


@pytest.mark.parametrize("name", LONG_ROWS)
def test_dots_equal_those_of_torch(name: str) -> None:
    entries, W_FD, g_ND = sparse(name)
    close(TRITON.dots(entries, g_ND, W_FD), TORCH.dots(entries, g_ND, W_FD))


@pytest.mark.parametrize("name", LONG_FEATURES | MANY_CHUNKS)
def test_order_and_sums_by_feature_equal_those_of_torch(name: str) -> None:
    entries, W_FD, x_ND = sparse(name)
    found, expected = (
        TRITON.by_feature(entries.features_M, len(W_FD)),
        TORCH.by_feature(entries.features_M, len(W_FD)),
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    sums_FD = TRITON.sum_by_feature(found, entries.values_M, entries.rows_M, x_ND)
    close(sums_FD, TORCH.sum_by_feature(expected, entries.values_M, entries.rows_M, x_ND))
    assert (sums_FD[found.starts_F.diff() == 0] == 0).all()


@pytest.mark.parametrize("name", LONG_FEATURES)
def test_steps_of_adam_from_entries_equal_torchs_adam_on_the_whole_gradient(name: str) -> None:
    entries, W_FD, x_ND = sparse(name)
    lr, betas, eps = 0.03, (0.9, 0.99), 1e-8
    expected = W_FD.clone().requires_grad_()
    adam = torch.optim.Adam([expected], lr=lr, betas=betas, eps=eps)
    mine, mean, square = W_FD.clone(), torch.zeros_like(W_FD), torch.zeros_like(W_FD)
    order = TORCH.by_feature(entries.features_M, len(W_FD))
    for step in (1, 2):
        values_M = entries.values_M / step  # another gradient each time
        expected.grad = TORCH.sum_by_feature(order, values_M, entries.rows_M, x_ND)
        adam.step()
        state = AdamRows(mine, mean, square, step=step, lr=lr, betas=betas, eps=eps)
        TRITON.sum_by_feature_into_adam(order, values_M, entries.rows_M, x_ND, state)
    close(mine, expected.detach())
    close(mean, adam.state[expected]["exp_avg"])
    close(square, adam.state[expected]["exp_avg_sq"])


@pytest.mark.parametrize("name", LONG_ROWS)
def test_errors_and_their_dots_equal_the_separate_steps(name: str) -> None:
    entries, W_FD, target_ND = sparse(name)
    found = TRITON.decode_errors(entries, W_FD, target_ND)
    errors_ND = TORCH.decode(entries, W_FD) - target_ND
    close(found.errors_ND, errors_ND)
    close(found.dots_M, TORCH.dots(entries, errors_ND, W_FD))
    close(found.square_N, errors_ND.square().sum(dim=1))


@pytest.mark.parametrize("seed", range(4))
def test_a_step_of_random_shape_equals_that_of_torch(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    n_rows, width, n_features = (
        int(torch.randint(1, most, (), generator=random)) for most in (6, 200, 7)
    )
    counts = torch.randint(0, n_features + 1, (n_rows,), generator=random).tolist()
    entries, W_FD, g_ND = sparse((n_rows, width, n_features, counts))
    order = TRITON.by_feature(entries.features_M, n_features)
    close(TRITON.decode(entries, W_FD), TORCH.decode(entries, W_FD))
    close(TRITON.dots(entries, g_ND, W_FD), TORCH.dots(entries, g_ND, W_FD))
    sums_FD = TRITON.sum_by_feature(order, entries.values_M, entries.rows_M, g_ND)
    close(sums_FD, TORCH.sum_by_feature(order, entries.values_M, entries.rows_M, g_ND))


def test_tables_in_bfloat16_are_summed_in_float32() -> None:
    entries, W_FD, g_ND = sparse("of_two_panels")
    W_half, g_half = W_FD.bfloat16(), g_ND.bfloat16()
    order = TORCH.by_feature(entries.features_M, len(W_FD))
    close(TRITON.decode(entries, W_half), TORCH.decode(entries, W_half.float()))
    close(TRITON.dots(entries, g_half, W_half), TORCH.dots(entries, g_half.float(), W_half.float()))
    sums_FD = TRITON.sum_by_feature(order, entries.values_M, entries.rows_M, g_half)
    close(sums_FD, TORCH.sum_by_feature(order, entries.values_M, entries.rows_M, g_half.float()))


def test_float64_stays_float64() -> None:
    entries, W_FD, g_ND = sparse("of_random_rows", dtype=torch.float64)
    order = TORCH.by_feature(entries.features_M, len(W_FD))
    exact = {"rtol": 1e-13, "atol": 1e-13}
    torch.testing.assert_close(TRITON.decode(entries, W_FD), TORCH.decode(entries, W_FD), **exact)
    torch.testing.assert_close(
        TRITON.dots(entries, g_ND, W_FD), TORCH.dots(entries, g_ND, W_FD), **exact
    )
    sums_FD = TRITON.sum_by_feature(order, entries.values_M, entries.rows_M, g_ND)
    torch.testing.assert_close(
        sums_FD, TORCH.sum_by_feature(order, entries.values_M, entries.rows_M, g_ND), **exact
    )
