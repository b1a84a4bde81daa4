"""Products with sparse codes in plain torch: what a training step does after the encoder. Other
kernels fill the same `Kernels`.

Nothing here makes a dense [rows, features] tensor, and the cost goes with the stored entries alone.
"""

import importlib.util
import warnings
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# Shape legend: N rows, D width, F features, M stored entries, R bags of rows.
# numpy sorts integers of 16 bits by radix: three times faster than torch's stable sort
_RADIX = 1 << 16


class Entries(NamedTuple):
    """The stored entries of a matrix [N, F], row after row. Indices are int32."""

    values_M: Tensor
    features_M: Tensor
    rows_M: Tensor
    starts_N: Tensor  # [N + 1], where each row begins


class ByFeature(NamedTuple):
    """The order that sorts entries by feature, rows ascending within one."""

    order_M: Tensor
    starts_F: Tensor  # [F + 1], where each feature begins, int32


class Kernels(Protocol):
    """The four sparse operations of a training step."""

    def decode(self, entries: Entries, W_FD: Tensor) -> Tensor:
        """Return for each row the weighted sum [N, D] of the rows of W that it stores."""
        ...

    def dots(self, entries: Entries, g_ND: Tensor, W_FD: Tensor) -> Tensor:
        """Return for each entry [M] the product of its row of g and its feature's row of W; the
        values are not used.
        """
        ...

    def by_feature(self, features_M: Tensor, n_features: int) -> ByFeature: ...

    def sum_by_feature(
        self, order: ByFeature, values_M: Tensor, rows_M: Tensor, x_ND: Tensor
    ) -> Tensor:
        """Return for each feature [F, D] the weighted sum of the rows of x that store it."""
        ...


class TorchKernels:
    """The operations in plain torch, on any device and in any precision."""

    def decode(self, entries: Entries, W_FD: Tensor) -> Tensor:
        return _weighted_sums(entries.features_M, W_FD, entries.starts_N, entries.values_M)

    def dots(self, entries: Entries, g_ND: Tensor, W_FD: Tensor) -> Tensor:
        size = (len(g_ND), len(W_FD))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            pattern = torch.sparse_csr_tensor(
                entries.starts_N,
                entries.features_M,
                entries.values_M,
                size=size,
                check_invariants=False,
            )
        return torch.sparse.sampled_addmm(pattern, g_ND, W_FD.T, beta=0.0).values()

    def by_feature(self, features_M: Tensor, n_features: int) -> ByFeature:
        return ByFeature(stable_order(features_M, n_features), starts_of(features_M, n_features))

    def sum_by_feature(
        self, order: ByFeature, values_M: Tensor, rows_M: Tensor, x_ND: Tensor
    ) -> Tensor:
        rows_M, values_M = (
            rows_M.index_select(0, order.order_M),
            values_M.index_select(0, order.order_M),
        )
        return _weighted_sums(rows_M, x_ND, order.starts_F, values_M)


def _weighted_sums(
    indices_M: Tensor, table_RD: Tensor, starts: Tensor, weights_M: Tensor
) -> Tensor:
    return embedding_bag(
        indices_M,
        table_RD,
        starts,
        per_sample_weights=weights_M,
        mode="sum",
        include_last_offset=True,
    )


def stable_order(keys_M: Tensor, n_keys: int) -> Tensor:
    """Return the positions [M] that sort `keys_M` (0 to `n_keys`, exclusive) and leave equal ones
    in their order.
    """
    if keys_M.device.type == "cpu" and n_keys <= _RADIX:
        return torch.from_numpy(np.argsort(keys_M.numpy().astype(np.uint16), kind="stable"))
    return keys_M.sort(stable=True).indices


def starts_of(keys_M: Tensor, n_keys: int) -> Tensor:
    """Return where each key would begin [n_keys + 1] if `keys_M` were sorted, int32."""
    starts = torch.zeros(n_keys + 1, dtype=torch.int32, device=keys_M.device)
    starts[1:] = torch.bincount(keys_M, minlength=n_keys).cumsum(0)
    return starts


def pick_kernels(device: torch.device) -> Kernels:
    """Return the kernels for a device: Triton's on a GPU, where it is installed."""
    if device.type == "cuda" and importlib.util.find_spec("triton"):
        # imports triton, which a CPU does not need
        from rewardscope.sae.train.triton_kernels import TritonKernels

        return TritonKernels()
    return TorchKernels()
