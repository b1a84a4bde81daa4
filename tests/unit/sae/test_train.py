from typing import Any

import numpy as np
import pytest
import torch

from rewardscope.log import NullRunLog
from rewardscope.sae.bank import TopKSae
from rewardscope.sae.quality import measure_quality
from rewardscope.sae.rows import load_rows
from rewardscope.sae.stream import ActStream, split_rows
from rewardscope.sae.train import TrainOptions, _folded, auto_lr, geometric_median, train_saes
from rewardscope.storage.shards import ActStore
from tests.unit.sae.planted import dictionary, planted_acts, write_acts

CPU = torch.device("cpu")


def options(**changes: Any) -> TrainOptions:
    values: dict[str, Any] = {"n_features": 32, "k": 2, "n_rows": 40_000, "lr": 5e-3, "aux_alpha": 1 / 32, "seed": 0, "device": CPU}
    return TrainOptions(**(values | changes))


@pytest.fixture(scope="module")
def stream_of(tmp_path_factory: pytest.TempPathFactory):
    made = planted_acts(n_problems=20, rows_per_problem=100, layers=(0, 3), n_features=20, width=16, k=2, seed=1)
    store = ActStore(write_acts(tmp_path_factory.mktemp("acts") / "math-rm-x", made))
    split = split_rows([store], [load_rows(store, store.sequences())], share=0.1, seed=0)
    return lambda: ActStream(split.train, (0, 3), batch=128, buffer_bytes=2**30, seed=0)


def test_training_finds_a_planted_dictionary_at_every_layer(stream_of) -> None:
    saes = train_saes(stream_of(), options(), run_log=NullRunLog())
    for layer, sae in saes.items():
        cosine_FF = dictionary(20, 16, seed=layer) @ sae.W_dec_FD.T
        assert (cosine_FF.max(dim=1).values > 0.9).float().mean() >= 0.9
        torch.testing.assert_close(sae.W_dec_FD.norm(dim=1), torch.ones(32))


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(stream_of) -> None:
    weights = [train_saes(stream_of(), options(n_rows=1000, seed=seed), run_log=NullRunLog())[0].W_enc_DF for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_curves_of_every_layer_reach_the_log(stream_of) -> None:
    logged: list[tuple[int, set[str]]] = []

    class Log(NullRunLog):
        def log(self, metrics: dict[str, float], *, step: int) -> None:
            logged.append((step, set(metrics)))

    train_saes(stream_of(), options(n_rows=1280), run_log=Log())
    assert [step for step, _ in logged] == [0, 9]
    assert logged[0][1] == {f"{name}/layer_{layer}" for name in ("fvu", "aux", "dead") for layer in (0, 3)}


def test_folding_the_scale_gives_the_same_reconstruction_of_raw_states() -> None:
    random = torch.Generator().manual_seed(0)
    trained = TopKSae(6, 20, k=3, k_aux=0, random=random)
    with torch.no_grad():
        trained.b_enc_F.copy_(torch.randn(20, generator=random))
        trained.b_dec_D.copy_(torch.randn(6, generator=random))
    x_ND, scale = 40 * torch.randn(11, 6, generator=random), 0.037
    scaled_ND = scale * x_ND
    pre_NF = (scaled_ND - trained.b_dec_D) @ trained.W_enc_FD.T + trained.b_enc_F
    kept_NF = torch.zeros_like(pre_NF).scatter(1, pre_NF.topk(3).indices, pre_NF.topk(3).values.clamp(min=0))
    expected_ND = (kept_NF @ trained.W_dec_FD + trained.b_dec_D) / scale
    folded = _folded(trained, scale, layer=0)
    torch.testing.assert_close(folded.decode(folded.encode(x_ND)), expected_ND.detach(), rtol=1e-4, atol=1e-4)


def test_the_geometric_median_of_a_line_is_its_middle_point_whatever_the_outlier() -> None:
    x_ND = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [1000.0, 0.0]])
    torch.testing.assert_close(geometric_median(x_ND, n_iterations=400), torch.tensor([2.0, 0.0]), atol=0.02, rtol=0)


def test_the_learning_rate_follows_the_scaling_law_and_is_larger_for_short_runs() -> None:
    assert auto_lr(2**14, 20_000) == auto_lr(2**14, 10**9) == pytest.approx(2e-4)
    assert auto_lr(2**16, 20_000) == pytest.approx(1e-4)
    assert auto_lr(2**16, 5_000) == pytest.approx(2e-4)
    assert auto_lr(2**16, 1) == pytest.approx(4e-4)
    assert auto_lr(4, 1) == 5e-3


def test_quality_is_the_dense_computation_on_all_rows() -> None:
    random = torch.Generator().manual_seed(0)
    sae = _folded(TopKSae(6, 20, k=3, k_aux=0, random=random), 1.0, layer=0)
    x_ND = torch.randn(50, 6, generator=random) + 3
    problem_N = np.repeat(np.arange(5), 10)
    quality = measure_quality(sae, [(x_ND[:20], problem_N[:20]), (x_ND[20:], problem_N[20:])], n_problems=9, seed=0)
    codes = sae.encode(x_ND)
    error = float((x_ND - sae.decode(codes)).double().pow(2).sum())
    assert quality.fvu.value == pytest.approx(error / float(((x_ND - x_ND.mean(dim=0)) ** 2).double().sum()), rel=1e-5)
    assert quality.l0.value == pytest.approx(float((codes.values_NK > 0).sum() / 50))
    assert quality.dead_share.value == 1 - len(codes.indices_NK[codes.values_NK > 0].unique()) / 20
    assert (quality.n_rows, quality.n_problems, quality.fvu.n, quality.dead_share.n) == (50, 5, 5, 20)
    assert quality.fvu.low < quality.fvu.value < quality.fvu.high
