"""The Triton kernels on a GPU against torch, at the size of a 7B PRM's layer; -s shows the
times.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)
pytest.importorskip("triton")

from rewardscope.sae.train.sparse import Entries, TorchKernels, pick_kernels, starts_of
from rewardscope.sae.train.triton_kernels import TritonKernels

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda")
N, D, F, K = 8192, 3584, 28_672, 64
TORCH, TRITON = TorchKernels(), TritonKernels()


class Batch(NamedTuple):
    entries: Entries
    W_FD: Tensor
    x_ND: Tensor


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Return rows with k entries; the first feature is in all of them, others the rarer the
    later.
    """
    random = torch.Generator(DEVICE).manual_seed(0)
    weight_F = 1 / torch.arange(1, F + 1, device=DEVICE, dtype=torch.float32)
    score_NF = (
        weight_F.log() - torch.empty(N, F, device=DEVICE).exponential_(generator=random).log()
    )
    score_NF[:, 0] = torch.inf
    features_M = score_NF.topk(K, dim=1).indices.sort(dim=1).values.flatten().int()
    del score_NF
    rows_M = torch.arange(N, device=DEVICE, dtype=torch.int32).repeat_interleave(K)
    values_M = torch.rand(N * K, device=DEVICE, generator=random)
    W_FD = torch.randn(F, D, device=DEVICE, generator=random) / D**0.5
    x_ND = torch.randn(N, D, device=DEVICE, generator=random)
    return Batch(Entries(values_M, features_M, rows_M, starts_of(rows_M, N)), W_FD, x_ND)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


def milliseconds(run: Callable[[], object]) -> float:
    """Return the median time of seven runs."""
    times = []
    for _ in range(9):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times[2:])[3]


def compare(name: str, plain: Callable[[], object], mine: Callable[[], object]) -> None:
    slow, fast = milliseconds(plain), milliseconds(mine)
    print(f"\n{name}: torch {slow:.2f} ms, triton {fast:.2f} ms, {slow / fast:.1f} times", end="")


def test_cuda_gets_triton_kernels() -> None:
    assert isinstance(pick_kernels(DEVICE), TritonKernels)


def test_decoded_rows_equal_those_of_torch(batch: Batch) -> None:
    entries, W_FD, _ = batch
    close(TRITON.decode(entries, W_FD), TORCH.decode(entries, W_FD))
    compare("decode", lambda: TORCH.decode(entries, W_FD), lambda: TRITON.decode(entries, W_FD))
    half_FD = W_FD.bfloat16()
    close(TRITON.decode(entries, half_FD), TORCH.decode(entries, half_FD.float()))
    compare(
        "decode, bfloat16 beside float32",
        lambda: TORCH.decode(entries, W_FD),
        lambda: TRITON.decode(entries, half_FD),
    )


def test_dots_equal_those_of_torch(batch: Batch) -> None:
    entries, W_FD, x_ND = batch
    close(TRITON.dots(entries, x_ND, W_FD), TORCH.dots(entries, x_ND, W_FD))
    compare(
        "dots", lambda: TORCH.dots(entries, x_ND, W_FD), lambda: TRITON.dots(entries, x_ND, W_FD)
    )


def test_sums_by_feature_equal_those_of_torch_and_are_the_same_each_time(batch: Batch) -> None:
    entries, W_FD, x_ND = batch
    order = TRITON.by_feature(entries.features_M, len(W_FD))
    expected = TORCH.by_feature(entries.features_M, len(W_FD))
    assert torch.equal(order.order_M, expected.order_M) and torch.equal(
        order.starts_F, expected.starts_F
    )
    sums_FD = TRITON.sum_by_feature(order, entries.values_M, entries.rows_M, x_ND)
    close(sums_FD, TORCH.sum_by_feature(order, entries.values_M, entries.rows_M, x_ND))
    assert torch.equal(
        sums_FD, TRITON.sum_by_feature(order, entries.values_M, entries.rows_M, x_ND)
    )
    compare(
        "by_feature",
        lambda: TORCH.by_feature(entries.features_M, F),
        lambda: TRITON.by_feature(entries.features_M, F),
    )
    compare(
        "sum_by_feature",
        lambda: TORCH.sum_by_feature(order, entries.values_M, entries.rows_M, x_ND),
        lambda: TRITON.sum_by_feature(order, entries.values_M, entries.rows_M, x_ND),
    )
