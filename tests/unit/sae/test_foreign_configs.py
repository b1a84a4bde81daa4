"""Settings under which an SAE of another library computes something else: served right, by the
formula of that library written out, or refused by name.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rewardscope.errors import BadRecord
from rewardscope.sae.model.checkpoint import load_sae, save_sae
from rewardscope.sae.model.inference import Sae
from tests.unit.sae.test_formats import (
    CPU,
    X_ND,
    D,
    F,
    K,
    linear_state,
    randn,
    standard_state,
    write_saelens,
)

OLD = {
    "d_in": D,
    "d_sae": F,
    "architecture": "standard",
    "hook_name": "blocks.7.hook_resid_post",
    "hook_layer": 7,
    "hook_head_index": None,
    "activation_fn_str": "relu",
    "activation_fn_kwargs": {},
    "apply_b_dec_to_input": True,
    "finetuning_scaling_factor": False,
    "normalize_activations": "none",
}


def write_old(folder: Path, state: dict[str, Tensor], **config: object) -> Path:
    """Write what SAELens wrote before its version 6."""
    write_saelens(folder, state)
    (folder / "cfg.json").write_text(json.dumps(OLD | config))
    return folder


def dense(sae: Sae) -> Tensor:
    codes = sae.encode(X_ND)
    return torch.zeros(len(X_ND), sae.n_features).scatter_add(1, codes.indices_NK, codes.values_NK)


def test_an_old_standard_sae_with_the_activation_topk_fires_k_features(tmp_path: Path) -> None:
    s = standard_state()
    kwargs = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}}
    sae = load_sae(write_old(tmp_path / "a", s, **kwargs), device=CPU)
    pre_NF = (X_ND - s["b_dec"]) @ s["W_enc"] + s["b_enc"]
    top = pre_NF.topk(K)
    acts_NF = torch.zeros_like(pre_NF).scatter(1, top.indices, top.values.relu())
    torch.testing.assert_close(dense(sae), acts_NF)
    assert (sae.k, sae.layer) == (K, 7)


def test_an_old_standard_sae_with_relu_fires_where_it_is_above_0(tmp_path: Path) -> None:
    s = standard_state()
    sae = load_sae(write_old(tmp_path / "a", s), device=CPU)
    torch.testing.assert_close(dense(sae), ((X_ND - s["b_dec"]) @ s["W_enc"] + s["b_enc"]).relu())


@pytest.mark.parametrize("name", ["finetuning_scaling_factor", "scaling_factor"])
def test_a_factor_of_each_feature_is_used_where_the_config_says_so(
    name: str, tmp_path: Path
) -> None:
    s, factor_F = standard_state(), randn(F, seed=5).abs() + 0.5
    state = s | {name: factor_F}
    sae = load_sae(write_old(tmp_path / "a", state, finetuning_scaling_factor=True), device=CPU)
    acts_NF = ((X_ND - s["b_dec"]) @ s["W_enc"] + s["b_enc"]).relu()
    expected_ND = (acts_NF * factor_F) @ s["W_dec"] + s["b_dec"]
    torch.testing.assert_close(sae.reconstruct(X_ND), expected_ND)
    with pytest.raises(BadRecord, match=f"it has a {name}, and cfg.json says that none is used"):
        load_sae(write_old(tmp_path / "b", state), device=CPU)
    of_ones = s | {name: torch.ones(F)}
    load_sae(write_old(tmp_path / "c", of_ones), device=CPU)
    with pytest.raises(BadRecord, match="finetuning_scaling_factor is not there"):
        load_sae(write_old(tmp_path / "d", s, finetuning_scaling_factor=True), device=CPU)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"activation_fn_str": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
        ({"activation_fn_str": "topk"}, "k is None"),
        ({"architecture": "gated", "activation_fn_str": "topk"}, "activation_fn is 'topk'"),
        ({"hook_name": "blocks.7.hook_mlp_out"}, "hook_name is 'blocks.7.hook_mlp_out'"),
        ({"hook_name": "blocks.7.attn.hook_z"}, "hook_name is 'blocks.7.attn.hook_z'"),
        ({"hook_name": "blocks.0.hook_resid_pre"}, r"after which block it reads \(-1\)"),
        ({"hook_head_index": 2}, "hook_head_index is 2"),
        ({"normalize_activations": "layer_norm"}, "'layer_norm' is not folded"),
        ({"normalize_activations": True}, "'expected_average_only_in' is not folded"),
        ({"apply_b_dec_to_input": "no"}, "apply_b_dec_to_input: Expected bool"),
        ({"d_sae": F + 1}, r"W_enc is \(6, 20\), cfg.json says \(6, 21\)"),
        ({"hook_name": 7}, "hook_name: Expected str"),
    ],
)
def test_what_saelens_computes_otherwise_is_refused_by_name(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRecord, match=said):
        load_sae(write_old(tmp_path / "a", standard_state(), **config), device=CPU)


def test_a_sparsify_sae_that_takes_the_largest_by_size_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "layers.7"
    folder.mkdir()
    state = linear_state() | {"W_dec": standard_state()["W_dec"]}
    save_file(state, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"k": K, "num_latents": F, "signed": False}))
    assert load_sae(folder, device=CPU).k == K
    (folder / "cfg.json").write_text(json.dumps({"k": K, "num_latents": F, "signed": True}))
    with pytest.raises(BadRecord, match="signed is True; only False can be read"):
        load_sae(folder, device=CPU)
    (moved := tmp_path / "layers.7.mlp").mkdir()
    for file in folder.iterdir():
        file.rename(moved / file.name)
    with pytest.raises(BadRecord, match=r"it reads layers\.7\.mlp"):
        load_sae(moved, device=CPU)


def write_dictionary(folder: Path, trainer: dict[str, Any], **more: Any) -> Path:
    folder.mkdir()
    state = linear_state() | {"k": torch.tensor(K), "threshold": torch.tensor(-1.0)}
    state["decoder.weight"] = standard_state()["W_dec"].T.contiguous()
    torch.save(state, folder / "ae.pt")
    trainer = {"dict_class": "AutoEncoderTopK", "k": K, "layer": 7} | trainer
    (folder / "config.json").write_text(json.dumps({"trainer": trainer} | more))
    return folder


@pytest.mark.parametrize("name", [None, "resid_post_layer_7", "Residual stream", "layer 7"])
def test_a_dictionary_of_the_residual_stream_is_read(name: str | None, tmp_path: Path) -> None:
    folder = write_dictionary(tmp_path / "a", {"submodule_name": name}, buffer={"io": "out"})
    assert load_sae(folder, device=CPU).layer == 7


@pytest.mark.parametrize(
    ("trainer", "more", "said"),
    [
        ({"submodule_name": "mlp_out_layer_7"}, {}, "submodule_name is 'mlp_out_layer_7'"),
        ({"submodule_name": "attn_layer_7"}, {}, "submodule_name is 'attn_layer_7'"),
        ({"submodule_name": "Attention output 7"}, {}, "submodule_name is 'Attention output 7'"),
        ({"submodule_name": "resid_post_layer_8"}, {}, "layer is 7, and submodule_name"),
        ({}, {"buffer": {"io": "in"}}, "io is 'in'"),
        ({"dict_class": "CrossCoder"}, {}, "dict_class 'CrossCoder'"),
        ({"layer": "7"}, {}, r"trainer\.layer: Expected int"),
        ({"layer": -1}, {}, r"after which block it reads \(-1\)"),
    ],
)
def test_a_dictionary_of_something_else_is_refused_by_name(
    trainer: dict[str, Any], more: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRecord, match=said):
        load_sae(write_dictionary(tmp_path / "a", trainer, **more), device=CPU)


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec", "threshold"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(name: str, value: float, tmp_path: Path) -> None:
    state = standard_state() | {"threshold": torch.zeros(F)}
    state[name].view(-1)[0] = value
    folder = write_saelens(tmp_path / "a", state, architecture="jumprelu")
    if name == "threshold" and value == float("inf"):
        assert not dense(load_sae(folder, device=CPU))[:, 0].any()  # it never fires
        return
    with pytest.raises(BadRecord, match=f"{name}.*NaN|a threshold is NaN"):
        load_sae(folder, device=CPU)


def test_the_config_of_another_layer_is_named(tmp_path: Path) -> None:
    s = standard_state()
    sae = Sae(
        W_enc_DF=s["W_enc"],
        b_enc_F=s["b_enc"],
        W_dec_FD=s["W_dec"],
        b_dec_D=s["b_dec"],
        k=K,
        layer=7,
        info={},
    )
    save_sae(tmp_path / "layer_08", sae)
    with pytest.raises(BadRecord, match=r"cfg\.json is of layer 7, and its folder is layer_08"):
        load_sae(tmp_path / "layer_08", device=CPU)
