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
from rewardscope.sae.train.triton_kernels import AdamRows, TritonKernels

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda")
N, D, F, K = 8192, 3584, 28_672, 64
# of Adam: with a tiny one, a gradient of 1e-8 that is only rounding would decide a whole step
EPS = 1e-2
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


def test_steps_of_adam_from_entries_equal_torchs_adam(batch: Batch) -> None:
    entries, W_FD, x_ND = batch
    weights_FD = W_FD.clone().requires_grad_()
    adam = torch.optim.Adam([weights_FD], lr=1e-3, eps=EPS, fused=True)
    order = TRITON.by_feature(entries.features_M, F)
    state = AdamRows(
        W_FD.clone(),
        torch.zeros_like(W_FD),
        torch.zeros_like(W_FD),
        step=1,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=EPS,
    )

    def plain() -> None:
        weights_FD.grad = TRITON.sum_by_feature(order, entries.values_M, entries.rows_M, x_ND)
        adam.step()

    def mine() -> None:
        TRITON.sum_by_feature_into_adam(order, entries.values_M, entries.rows_M, x_ND, state)

    plain()
    mine()
    close(state.weights_FD, weights_FD.detach())
    close(state.mean_FD, adam.state[weights_FD]["exp_avg"])
    close(state.square_FD, adam.state[weights_FD]["exp_avg_sq"])
    compare("sum_by_feature, then torch's fused Adam, beside sum_by_feature_into_adam", plain, mine)


def test_errors_and_their_dots_equal_the_separate_steps(batch: Batch) -> None:
    entries, W_FD, x_ND = batch
    found = TRITON.decode_errors(entries, W_FD, x_ND)
    errors_ND = TORCH.decode(entries, W_FD) - x_ND
    close(found.errors_ND, errors_ND)
    close(found.dots_M, TORCH.dots(entries, errors_ND, W_FD))
    close(found.square_N, errors_ND.square().sum(dim=1))

    def separate() -> None:
        separate_ND = TRITON.decode(entries, W_FD).sub_(x_ND)
        TRITON.dots(entries, separate_ND, W_FD)
        separate_ND.square().sum(dim=1)

    compare(
        "decode, error, dots (triton), beside decode_errors",
        separate,
        lambda: TRITON.decode_errors(entries, W_FD, x_ND),
    )
