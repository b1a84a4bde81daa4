"""Layouts of other libraries, against their formulas written out by hand.

Their own loaders are asked in tests/peers.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.sae.formats import FormatName, layer_of_hook
from rewardscope.sae.model.checkpoint import load_sae, save_sae
from rewardscope.sae.model.inference import Sae
from rewardscope.sae.model.runs import find_sae
from rewardscope.settings import Settings

CPU = torch.device("cpu")
D, F, K = 6, 20, 3


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X_ND = randn(40, D, seed=9) * 2


@pytest.fixture(params=["topk", "batchtopk", "jumprelu"])
def sae(request: pytest.FixtureRequest) -> Sae:
    threshold = {
        "topk": None,
        "batchtopk": torch.full((F,), 0.7),
        "jumprelu": randn(F, seed=5).abs(),
    }[request.param]
    return Sae(
        W_enc_DF=randn(D, F, seed=1),
        b_enc_F=randn(F, seed=2),
        W_dec_FD=randn(F, D, seed=3),
        b_dec_D=randn(D, seed=4),
        k=K if threshold is None else None,
        threshold_F=threshold,
        activation=request.param,
        layer=7,
        info={"prm": "some/prm"},
    )


@pytest.mark.parametrize("layout", ["rewardscope", "saelens", "sparsify", "dictionary-learning"])
def test_an_exported_sae_reads_back_with_the_same_outputs(
    sae: Sae, layout: FormatName, tmp_path: Path
) -> None:
    folder = tmp_path / ("layers.7" if layout == "sparsify" else "layer_07")
    if layout == "sparsify" and sae.k is None:
        with pytest.raises(ConfigError, match="TopK SAEs only"):
            save_sae(folder, sae, layout=layout)
        return
    files = save_sae(folder, sae, layout=layout)
    assert all(file.is_file() for file in files)
    for path in (folder, files[0]):
        loaded = load_sae(path, device=CPU)
        torch.testing.assert_close(
            loaded.reconstruct(X_ND), sae.reconstruct(X_ND), rtol=1e-6, atol=1e-5
        )
        assert (loaded.layer, loaded.activation) == (7, sae.activation)


def write_saelens(folder: Path, state: dict[str, Tensor], **config: object) -> Path:
    folder.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()},
        folder / "sae_weights.safetensors",
    )
    metadata = {"hook_name": "blocks.7.hook_resid_post"}
    (folder / "cfg.json").write_text(json.dumps({"metadata": metadata, **config}))
    return folder


def standard_state() -> dict[str, Tensor]:
    return {
        "W_enc": randn(D, F, seed=1),
        "b_enc": randn(F, seed=2),
        "W_dec": randn(F, D, seed=3),
        "b_dec": randn(D, seed=4),
    }


def test_norms_of_the_decoder_and_the_scale_of_the_input_are_folded_in(tmp_path: Path) -> None:
    s, scale = standard_state(), 0.37
    norm_F = s["W_dec"].norm(dim=1)
    config = {
        "architecture": "topk",
        "k": K,
        "rescale_acts_by_decoder_norm": True,
        "normalize_activations": "expected_average_only_in",
    }
    folder = write_saelens(tmp_path / "a", s, **config)
    with pytest.raises(BadRecord, match="not folded into the weights"):
        load_sae(folder, device=CPU)
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": scale}))
    pre_NF = ((X_ND * scale - s["b_dec"]) @ s["W_enc"] + s["b_enc"]) * norm_F
    top = pre_NF.topk(K)
    acts_NF = torch.zeros_like(pre_NF).scatter(1, top.indices, top.values.relu())
    expected_ND = ((acts_NF / norm_F) @ s["W_dec"] + s["b_dec"]) / scale
    torch.testing.assert_close(load_sae(folder, device=CPU).reconstruct(X_ND), expected_ND)


def test_an_encoder_that_does_not_subtract_the_decoder_bias_is_the_same_after_reading(
    tmp_path: Path,
) -> None:
    s = standard_state() | {"threshold": randn(F, seed=5).abs()}
    folder = write_saelens(tmp_path / "a", s, architecture="jumprelu", apply_b_dec_to_input=False)
    pre_NF = X_ND @ s["W_enc"] + s["b_enc"]
    expected_ND = (pre_NF * (pre_NF > s["threshold"])).relu() @ s["W_dec"] + s["b_dec"]
    torch.testing.assert_close(load_sae(folder, device=CPU).reconstruct(X_ND), expected_ND)


def test_a_gated_sae_is_a_jumprelu_sae(tmp_path: Path) -> None:
    s = standard_state() | {
        "r_mag": randn(F, seed=6) * 0.3,
        "b_gate": randn(F, seed=7),
        "b_mag": randn(F, seed=8),
    }
    del s["b_enc"]
    folder = write_saelens(tmp_path / "a", s, architecture="gated")
    x_enc_NF = (X_ND - s["b_dec"]) @ s["W_enc"]
    acts_NF = (x_enc_NF + s["b_gate"] > 0) * (x_enc_NF * s["r_mag"].exp() + s["b_mag"]).relu()
    torch.testing.assert_close(
        load_sae(folder, device=CPU).reconstruct(X_ND), acts_NF @ s["W_dec"] + s["b_dec"]
    )


@pytest.mark.parametrize("architecture", ["temporal", "transcoder"])
def test_an_architecture_that_is_not_known_is_named(architecture: str, tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match=f"'{architecture}' cannot be read"):
        load_sae(
            write_saelens(tmp_path / "a", standard_state(), architecture=architecture), device=CPU
        )


def linear_state() -> dict[str, Tensor]:
    s = standard_state()
    return {
        "encoder.weight": s["W_enc"].T.contiguous(),
        "encoder.bias": s["b_enc"],
        "b_dec": s["b_dec"],
    }


def test_a_sparsify_transcoder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "layers.7"
    folder.mkdir()
    save_file(linear_state() | {"W_dec": standard_state()["W_dec"]}, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(
        json.dumps({"activation": "topk", "k": K, "d_in": D, "num_latents": F, "transcode": True})
    )
    with pytest.raises(BadRecord, match="transcode is True"):
        load_sae(folder, device=CPU)


@pytest.mark.parametrize("with_config", [False, True])
def test_a_bare_state_dict_is_read_by_its_names(with_config: bool, tmp_path: Path) -> None:
    s = standard_state()
    bare = {
        "model/layer_12": linear_state() | {"decoder.weight": s["W_dec"].T, "k": torch.tensor(K)},
        "model/layer_3": s,
    }
    for name, state in bare.items():
        (tmp_path / name).mkdir(parents=True)
        torch.save(state, tmp_path / name / "sae.pt")
        if with_config:
            (tmp_path / name / "cfg.json").write_text('{"k": 5}')
    k = 5 if with_config else K
    pre_NF = (X_ND - s["b_dec"]) @ s["W_enc"] + s["b_enc"]
    acts_NF = torch.zeros_like(pre_NF).scatter(
        1, pre_NF.topk(k).indices, pre_NF.topk(k).values.relu()
    )
    loaded = load_sae(tmp_path / "model/layer_12/sae.pt", device=CPU)
    torch.testing.assert_close(loaded.reconstruct(X_ND), acts_NF @ s["W_dec"] + s["b_dec"])
    assert loaded.layer == 12
    if with_config:
        torch.testing.assert_close(
            load_sae(tmp_path / "model/layer_3", device=CPU).reconstruct(X_ND),
            loaded.reconstruct(X_ND),
        )
    else:
        with pytest.raises(
            BadRecord, match=r"no k and no threshold; put \{\"k\": 32\} into a cfg.json"
        ):
            load_sae(tmp_path / "model/layer_3", device=CPU)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"W_enc": Path("x")}, tmp_path / "sae_layer_3.pt")  # a class that is no tensor
    with pytest.raises(BadRecord, match="no plain state dict"):
        load_sae(tmp_path / "sae_layer_3.pt", device=CPU)


def test_a_checkpoint_path_in_the_environment_may_be_of_any_library(
    sae: Sae, tmp_path: Path
) -> None:
    for layer in (3, 12):
        save_sae(
            tmp_path / "lens" / f"layer_{layer:02d}",
            dataclasses.replace(sae, layer=layer),
            layout="saelens",
        )
        save_sae(
            tmp_path / "dl" / f"layer_{layer}" / "trainer_0",
            dataclasses.replace(sae, layer=layer),
            layout="dictionary-learning",
        )
    lens = find_sae(None, Settings(sae_checkpoint_path=tmp_path / "lens"))
    assert lens == (
        tmp_path / "lens",
        {3: tmp_path / "lens/layer_03", 12: tmp_path / "lens/layer_12"},
    )
    settings = Settings(sae_checkpoint_dir=tmp_path)
    assert sorted(find_sae("dl", settings).layers) == [3, 12]
    assert find_sae("lens/layer_03/sae_weights.safetensors", settings).layers == {
        3: tmp_path / "lens/layer_03/sae_weights.safetensors"
    }
    save_sae(
        tmp_path / "dl" / "again", dataclasses.replace(sae, layer=3), layout="dictionary-learning"
    )
    with pytest.raises(ConfigError, match="two SAEs of layer 3"):
        find_sae("dl", settings)


def test_only_the_residual_stream_has_a_layer() -> None:
    assert (
        layer_of_hook("blocks.7.hook_resid_post")
        == layer_of_hook("blocks.8.hook_resid_pre")
        == layer_of_hook("model.layers.7")
        == 7
    )
    assert layer_of_hook("blocks.7.hook_mlp_out") is None
    assert layer_of_hook("layers.7.mlp") is None


def test_a_weight_of_the_wrong_shape_is_named(sae: Sae, tmp_path: Path) -> None:
    save_sae(tmp_path / "layer_07", sae, layout="saelens")
    state = load_file(tmp_path / "layer_07" / "sae_weights.safetensors")
    save_file(
        state | {"W_dec": state["W_dec"].T.contiguous()},
        tmp_path / "layer_07" / "sae_weights.safetensors",
    )
    with pytest.raises(BadRecord, match=r"W_dec is \(6, 20\), W_enc is \(6, 20\)"):
        load_sae(tmp_path / "layer_07", device=CPU)
