import dataclasses
import json
from pathlib import Path

import pytest
import torch

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.sae.model.checkpoint import Sae, load_sae, save_sae
from rewardscope.sae.model.runs import find_sae
from rewardscope.settings import Settings
from rewardscope.storage.files import write_json

CPU = torch.device("cpu")


@pytest.fixture
def sae() -> Sae:
    random = torch.Generator().manual_seed(0)
    return Sae(
        W_enc_DF=torch.randn(6, 20, generator=random),
        b_enc_F=torch.randn(20, generator=random),
        W_dec_FD=torch.randn(20, 6, generator=random),
        b_dec_D=torch.randn(6, generator=random),
        k=3,
        layer=7,
        info={"prm": "x"},
    )


def test_a_checkpoint_comes_back_bit_for_bit(sae: Sae, tmp_path: Path) -> None:
    files = save_sae(tmp_path / "layer_07", sae)
    assert [file.name for file in files] == ["sae.safetensors", "cfg.json"]
    for path in (tmp_path / "layer_07", tmp_path / "layer_07" / "sae.safetensors"):
        loaded = load_sae(path, device=CPU)
        for name in ("W_enc_DF", "b_enc_F", "W_dec_FD", "b_dec_D"):
            assert torch.equal(getattr(loaded, name), getattr(sae, name))
        assert (loaded.k, loaded.layer, loaded.info) == (3, 7, {"prm": "x"})


def test_reconstruction_is_the_textbook_formula(sae: Sae) -> None:
    x_ND = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    pre_NF = (x_ND - sae.b_dec_D) @ sae.W_enc_DF + sae.b_enc_F
    kept_NF = torch.zeros_like(pre_NF).scatter(
        1, pre_NF.topk(3).indices, pre_NF.topk(3).values.clamp(min=0)
    )
    torch.testing.assert_close(sae.decode(sae.encode(x_ND)), kept_NF @ sae.W_dec_FD + sae.b_dec_D)


def test_thresholds_decide_what_fires_and_survive_the_file(sae: Sae, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(2)
    threshold_F = torch.rand(20, generator=random) * 3 - 0.5  # some below 0, where ReLU decides
    sae = dataclasses.replace(sae, k=None, threshold_F=threshold_F, activation="jumprelu")
    save_sae(tmp_path / "layer_07", sae)
    loaded = load_sae(tmp_path / "layer_07", device=CPU)
    assert loaded.threshold_F is not None and torch.equal(loaded.threshold_F, threshold_F)
    assert (loaded.k, loaded.activation) == (None, "jumprelu")
    x_ND = torch.randn(9, 6, generator=random)
    pre_NF = (x_ND - sae.b_dec_D) @ sae.W_enc_DF + sae.b_enc_F
    kept_NF = torch.where(pre_NF > threshold_F, pre_NF, 0).clamp(min=0)
    codes = loaded.encode(x_ND)
    assert (
        codes.values_NK.shape == codes.indices_NK.shape == (9, int((kept_NF > 0).sum(dim=1).max()))
    )
    torch.testing.assert_close(
        torch.zeros(9, 20).scatter_add(1, codes.indices_NK, codes.values_NK), kept_NF
    )
    torch.testing.assert_close(loaded.decode(codes), kept_NF @ sae.W_dec_FD + sae.b_dec_D)


def test_where_nothing_fires_the_reconstruction_is_the_decoder_bias(sae: Sae) -> None:
    silent = dataclasses.replace(
        sae, k=None, threshold_F=torch.full((20,), 1e9), activation="batchtopk"
    )
    assert torch.equal(silent.reconstruct(torch.ones(3, 6)), sae.b_dec_D.expand(3, 6))


def test_a_checkpoint_from_before_activations_were_named_is_topk(sae: Sae, tmp_path: Path) -> None:
    save_sae(tmp_path, sae)
    config = json.loads((tmp_path / "cfg.json").read_text())
    del config["activation"]
    write_json(tmp_path / "cfg.json", config)
    assert load_sae(tmp_path, device=CPU).activation == "topk"


def test_weights_without_a_config_are_not_a_finished_checkpoint(sae: Sae, tmp_path: Path) -> None:
    folder = tmp_path / "layer_07"
    save_sae(folder, sae)
    (folder / "cfg.json").unlink()
    with pytest.raises(MissingInput, match="not a finished SAE layer"):
        load_sae(folder, device=CPU)


def test_damaged_weights_and_weights_of_another_shape_are_named(sae: Sae, tmp_path: Path) -> None:
    folder = tmp_path / "layer_07"
    save_sae(folder, sae)
    config = (folder / "cfg.json").read_text()
    (folder / "cfg.json").write_text(config.replace('"d_sae": 20', '"d_sae": 21'))
    with pytest.raises(BadRecord, match=r"W_enc is \(6, 20\), cfg.json says \(6, 21\)"):
        load_sae(folder, device=CPU)
    (folder / "sae.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(BadRecord, match="damaged"):
        load_sae(folder, device=CPU)


def test_another_architecture_is_refused(sae: Sae, tmp_path: Path) -> None:
    save_sae(tmp_path / "layer_07", sae)
    write_json(tmp_path / "layer_07" / "cfg.json", {"architecture": "gated"})
    with pytest.raises(BadRecord, match="only topk and jumprelu can be read"):
        load_sae(tmp_path / "layer_07", device=CPU)


def test_an_sae_of_another_layer_or_width_is_refused(sae: Sae) -> None:
    sae.check(layer=7, width=6, where="acts")
    with pytest.raises(
        BadRecord, match="the SAE is of layer 7, the activations of acts are of layer 8"
    ):
        sae.check(layer=8, width=6, where="acts")
    with pytest.raises(BadRecord, match="has width 6, the activations of acts have 12"):
        sae.check(layer=7, width=12, where="acts")


def test_the_flag_wins_over_the_environment_and_without_both_there_is_an_error(
    sae: Sae, tmp_path: Path
) -> None:
    for run in ("flag", "variable"):
        save_sae(tmp_path / run / "layer_07", sae)
        save_sae(tmp_path / run / "layer_09", dataclasses.replace(sae, layer=9))
        write_json(
            tmp_path / run / "manifest.json", {"stage": "train-sae", "extra": {"layers": [7, 9]}}
        )
    settings = Settings(sae_checkpoint_dir=tmp_path, sae_checkpoint_path=tmp_path / "variable")
    assert find_sae(None, settings).root == tmp_path / "variable"
    assert find_sae("flag", settings) == (
        tmp_path / "flag",
        {7: tmp_path / "flag/layer_07", 9: tmp_path / "flag/layer_09"},
    )
    with pytest.raises(ConfigError, match="--sae RUN"):
        find_sae(None, Settings(sae_checkpoint_dir=tmp_path))
    with pytest.raises(MissingInput, match="SAE nothing is neither there"):
        find_sae("nothing", settings)


@pytest.mark.parametrize("name", ["run/layer_09", "run/layer_09/sae.safetensors"])
def test_one_layer_of_a_run_can_be_named_and_keeps_the_runs_name(
    sae: Sae, tmp_path: Path, name: str
) -> None:
    save_sae(tmp_path / "run" / "layer_09", dataclasses.replace(sae, layer=9))
    assert find_sae(name, Settings(sae_checkpoint_dir=tmp_path)) == (
        tmp_path / "run",
        {9: tmp_path / name},
    )


def test_a_run_without_a_manifest_is_not_finished(sae: Sae, tmp_path: Path) -> None:
    save_sae(tmp_path / "run" / "layer_07", sae)
    with pytest.raises(MissingInput, match="not a finished SAE run"):
        find_sae("run", Settings(sae_checkpoint_dir=tmp_path))
