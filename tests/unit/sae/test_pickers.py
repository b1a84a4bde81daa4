import pytest
import torch
from torch import Tensor

from rewardscope.sae.train import pickers
from rewardscope.sae.train.pickers import AboveFloor, OnSubset, TopOfBatch, TopOfRow, encode
from rewardscope.sae.train.sparse import Entries

D = 8


def inputs(
    n: int, n_features: int, *, seed: int = 0, shift: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x_ND, W_FD = torch.randn(n, D, generator=random), torch.randn(n_features, D, generator=random)
    return x_ND, W_FD, torch.randn(n_features, generator=random) + shift


def pre_activations(x_ND: Tensor, W_FD: Tensor, b_F: Tensor) -> Tensor:
    return x_ND @ W_FD.T + b_F


def dense(entries: Entries, n_features: int) -> Tensor:
    codes_NF = torch.zeros(len(entries.starts_N) - 1, n_features)
    codes_NF[entries.rows_M.long(), entries.features_M.long()] = entries.values_M
    assert torch.equal(entries.rows_M, entries.rows_M.sort().values)
    assert torch.equal(
        entries.starts_N.diff().long(), torch.bincount(entries.rows_M, minlength=len(codes_NF))
    )
    return codes_NF


def largest(pre_NF: Tensor, k: int) -> Tensor:
    """Return the positive ones of the k largest of each row, by a full sort."""
    threshold_N1 = pre_NF.sort(dim=1, descending=True).values[:, k - 1 : k]
    return torch.where(pre_NF >= threshold_N1, pre_NF.relu(), 0.0)


@pytest.mark.parametrize("shift", [0.0, -4.0])  # with -4, fewer than k are positive in many rows
@pytest.mark.parametrize(("n_features", "k"), [(512, 2), (512, 16), (509, 5), (40, 40), (33, 1)])
def test_topk_is_what_a_full_sort_finds(
    monkeypatch: pytest.MonkeyPatch, n_features: int, k: int, shift: float
) -> None:
    monkeypatch.setitem(pickers._CHUNK, "cpu", 7 * n_features)
    x_ND, W_FD, b_F = inputs(50, n_features, shift=shift)
    (entries,) = encode(x_ND, W_FD, b_F, [TopOfRow(k)], bf16=False)
    torch.testing.assert_close(
        dense(entries, n_features), largest(pre_activations(x_ND, W_FD, b_F), k)
    )


def test_features_that_tie_at_the_border_leave_k_and_no_more() -> None:
    x_ND, W_FD, b_F = inputs(20, 64)
    W_FD[32:], b_F[32:] = W_FD[:32], b_F[:32]  # every pre-activation occurs twice
    (entries,) = encode(x_ND, W_FD, b_F, [TopOfRow(3)], bf16=False)
    pre_NF = pre_activations(x_ND, W_FD, b_F)
    assert torch.equal(entries.starts_N.diff().long(), (pre_NF > 0).sum(dim=1).clamp(max=3))
    torch.testing.assert_close(
        dense(entries, 64).sum(dim=1), pre_NF.relu().topk(3, dim=1).values.sum(dim=1)
    )


@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_batchtopk_is_the_largest_of_all_rows_together(
    monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    monkeypatch.setitem(pickers._CHUNK, "cpu", 10 * 96)
    x_ND, W_FD, b_F = inputs(100, 96, shift=shift)
    (entries,) = encode(x_ND, W_FD, b_F, [TopOfBatch(4, 100)], bf16=False)
    pre_NF = pre_activations(x_ND, W_FD, b_F)
    threshold = pre_NF.flatten().sort(descending=True).values[399]
    torch.testing.assert_close(
        dense(entries, 96), torch.where(pre_NF >= threshold, pre_NF.relu(), 0.0)
    )


def test_batchtopk_tries_again_with_a_lower_floor_where_the_first_rows_deceive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(pickers._CHUNK, "cpu", 10 * 96)
    x_ND, W_FD, b_F = inputs(100, 96)
    x_ND[:10] *= 30  # the floor is guessed from these
    tries: list[float] = []
    real = TopOfBatch.trim
    monkeypatch.setattr(
        TopOfBatch,
        "trim",
        lambda self, found: tries.append(len(found.values_M)) or real(self, found),
    )
    (entries,) = encode(x_ND, W_FD, b_F, [TopOfBatch(4, 100)], bf16=False)
    pre_NF = pre_activations(x_ND, W_FD, b_F)
    threshold = pre_NF.flatten().sort(descending=True).values[399]
    assert len(tries) > 1 and tries[0] < 400 <= tries[-1]
    torch.testing.assert_close(dense(entries, 96), torch.where(pre_NF >= threshold, pre_NF, 0.0))


def test_every_feature_has_a_floor_of_its_own() -> None:
    x_ND, W_FD, b_F = inputs(30, 50)
    floor_F = torch.linspace(-1, 3, 50)
    (entries,) = encode(x_ND, W_FD, b_F, [AboveFloor(floor_F)], bf16=False)
    pre_NF = pre_activations(x_ND, W_FD, b_F)
    torch.testing.assert_close(
        dense(entries, 50), torch.where(pre_NF >= floor_F, pre_NF.relu(), 0.0)
    )


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_choice_among_some_features_leaves_the_others_out_and_skips_rows(
    monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    monkeypatch.setitem(pickers._CHUNK, "cpu", 7 * 50)
    x_ND, W_FD, b_F = inputs(30, 50)
    among = torch.tensor([3, 4, 17, 30, 49])
    every, some = encode(
        x_ND, W_FD, b_F, [TopOfRow(2), OnSubset(TopOfRow(3), among, row_stride=stride)], bf16=False
    )
    pre_NF = pre_activations(x_ND, W_FD, b_F)
    expected_NF = torch.zeros(30, 50)
    expected_NF[:, among] = largest(pre_NF[:, among], 3)
    expected_NF[[row for row in range(30) if row % stride]] = 0.0
    torch.testing.assert_close(dense(some, 50), expected_NF)
    torch.testing.assert_close(dense(every, 50), largest(pre_NF, 2))


def test_rows_on_which_nothing_is_positive_store_nothing() -> None:
    x_ND, W_FD, b_F = inputs(5, 20, shift=-1000.0)
    for picker in (TopOfRow(3), TopOfBatch(3, 5), AboveFloor(torch.zeros(20))):
        (entries,) = encode(x_ND, W_FD, b_F, [picker], bf16=False)
        assert len(entries.values_M) == 0
        assert entries.starts_N.tolist() == [0] * 6
