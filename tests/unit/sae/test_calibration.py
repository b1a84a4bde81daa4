import pytest
import torch

from rewardscope.sae.train import pickers
from rewardscope.sae.train.calibration import LargestValues, batch_thresholds
from tests.unit.sae.dense import D, K, make_layer, rows


@pytest.mark.parametrize("count", [1, 7, 50])
def test_the_kth_of_values_that_come_in_pieces_is_that_of_a_full_sort(count: int) -> None:
    random = torch.Generator().manual_seed(count)
    values = (4 * torch.randn(400, generator=random)).round()  # many are equal
    largest = LargestValues(count)
    for piece in values.split(30):
        largest.add(piece)
    assert largest.least() == float(values.sort(descending=True).values[count - 1])


def test_where_fewer_are_positive_the_threshold_is_zero() -> None:
    largest = LargestValues(3)
    largest.add(torch.tensor([2.0, -1.0, 1.0, 0.0]))
    assert largest.least() == 0.0


def test_the_threshold_is_the_k_nth_value_of_all_rows_whatever_the_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x_ND = torch.cat([rows(seed=seed) for seed in range(6)]).double()
    x_ND[:20] *= 3  # so that no batch has its share
    layer = make_layer("batchtopk")
    pre_NF = (x_ND - layer.b_dec_D) @ layer.W_enc_FD.T + layer.b_enc_F
    expected = float(pre_NF.flatten().sort(descending=True).values[K * len(x_ND) - 1])
    monkeypatch.setitem(pickers._CHUNK, "cpu", 5 * D)
    for size in (7, len(x_ND)):
        batches = [{4: part} for part in x_ND.split(size)]
        found = batch_thresholds({4: layer}, batches, n_rows=len(x_ND))
        assert found == {4: pytest.approx(expected, rel=1e-12)}
