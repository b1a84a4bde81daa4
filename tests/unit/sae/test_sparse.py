import pytest
import torch

from rewardscope.sae.train.sparse import Entries, TorchKernels, stable_order, starts_of

N, D, F = 9, 5, 7
KERNELS = TorchKernels()


def entries() -> tuple[Entries, torch.Tensor]:
    """Return entries and the same as a dense matrix; row 4 and feature 2 are empty."""
    random = torch.Generator().manual_seed(1)
    dense_NF = torch.randn(N, F, generator=random, dtype=torch.float64) * (
        torch.rand(N, F, generator=random) < 0.4
    )
    dense_NF[4], dense_NF[:, 2] = 0.0, 0.0
    rows_M, features_M = dense_NF.nonzero(as_tuple=True)
    return (
        Entries(dense_NF[rows_M, features_M], features_M.int(), rows_M.int(), starts_of(rows_M, N)),
        dense_NF,
    )


def table(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_decoding_is_the_dense_product() -> None:
    sparse, dense_NF = entries()
    torch.testing.assert_close(KERNELS.decode(sparse, table(F, 0)), dense_NF @ table(F, 0))


def test_dots_are_those_entries_of_the_dense_product() -> None:
    sparse, _ = entries()
    product_NF = table(N, 0) @ table(F, 1).T
    expected_M = product_NF[sparse.rows_M.long(), sparse.features_M.long()]
    torch.testing.assert_close(KERNELS.dots(sparse, table(N, 0), table(F, 1)), expected_M)


def test_sums_by_feature_are_the_transposed_product() -> None:
    sparse, dense_NF = entries()
    order = KERNELS.by_feature(sparse.features_M, F)
    torch.testing.assert_close(
        KERNELS.sum_by_feature(order, sparse.values_M, sparse.rows_M, table(N, 0)),
        dense_NF.T @ table(N, 0),
    )


@pytest.mark.parametrize("n_keys", [50, 1 << 16, 1 << 17])
def test_the_order_is_stable_for_few_keys_and_for_many(n_keys: int) -> None:
    keys_M = torch.randint(
        0, n_keys, (1000,), generator=torch.Generator().manual_seed(0), dtype=torch.int32
    )
    keys_M[0], keys_M[-1] = n_keys - 1, n_keys - 1
    assert stable_order(keys_M, n_keys).tolist() == sorted(
        range(1000), key=lambda position: int(keys_M[position])
    )
