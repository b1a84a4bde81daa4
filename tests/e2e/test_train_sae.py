import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.sae.checkpoint import load_sae
from rewardscope.sae.runs import find_sae
from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from rewardscope.storage.tables import read_json
from tests.unit.sae.planted import dictionary, planted_acts, write_acts

CPU = torch.device("cpu")
NAMES = ("math-rm-a", "math-rm-b")
SMALL: dict[str, Any] = {"ds_names": NAMES, "n_features": "32", "k": "2", "batch": 128, "tokens": 2_000, "device": "cpu"}


@pytest.fixture(scope="module")
def acts_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(NAMES):
        made = planted_acts(n_problems=10, rows_per_problem=100, layers=(0, 2), n_features=20, width=16, k=2, seed=seed)
        write_acts(home / name, made)
    write_acts(home / "wide", planted_acts(n_problems=2, rows_per_problem=9, layers=(0,), n_features=9, width=24, k=2, seed=0))
    write_acts(home / "other-layer", planted_acts(n_problems=2, rows_per_problem=9, layers=(1,), n_features=9, width=16, k=2, seed=0))
    return home


@pytest.fixture
def settings(acts_home: Path, tmp_path: Path) -> Settings:
    return Settings(data_dir=acts_home, sae_checkpoint_dir=tmp_path / "checkpoints")


def train(settings: Settings, **flags: Any) -> Path:
    return train_sae.run(train_sae.Config(**(SMALL | flags)), settings)


def test_training_finds_the_planted_dictionaries_and_says_how_well(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    out = train(settings, tokens=40_000, lr=5e-3, run="planted")
    assert out == settings.sae_checkpoint_dir / "planted"
    for layer in (0, 2):
        folder = out / f"layer_{layer:02d}"
        cosine_FF = dictionary(20, 16, seed=layer) @ load_sae(folder, device=CPU).W_dec_FD.T
        assert (cosine_FF.max(dim=1).values > 0.9).float().mean() >= 0.9
        quality = read_json(folder / "quality.json")
        assert quality["fvu"]["low"] <= quality["fvu"]["value"] <= quality["fvu"]["high"] < 0.1
        assert (quality["n_problems"], quality["n_rows"], quality["fvu"]["n"]) == (1, 200, 1)
        assert read_json(folder / "cfg.json")["metadata"]["trained_on"] == list(NAMES)
    assert len(capsys.readouterr().out.splitlines()) == 4
    manifest = read_json(out / "manifest.json")
    assert manifest["rows"] == 1800
    assert sorted(manifest["outputs"]) == [
        f"layer_{layer}/{name}" for layer in ("00", "02") for name in ("cfg.json", "quality.json", "sae.safetensors")
    ]
    assert find_sae("planted", settings).layers == {0: out / "layer_00", 2: out / "layer_02"}


def test_a_second_run_skips_and_other_settings_stop(settings: Settings) -> None:
    written = (train(settings) / "manifest.json").stat().st_mtime_ns
    assert (train(settings, device="auto") / "manifest.json").stat().st_mtime_ns == written
    with pytest.raises(ConfigError, match=r"k '2' -> '3'.*--force"):
        train(settings, k="3")
    train(settings, k="3", force=True)
    assert load_sae(settings.sae_checkpoint_dir / "sae" / "layer_00", device=CPU).k == 3
    with pytest.raises(ConfigError, match=r"ds_names.*--force"):
        train(settings, k="3", ds_names=("math-rm-a",))


def test_a_run_killed_between_two_layers_does_not_pass_for_a_finished_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardscope.sae import checkpoint

    real = checkpoint.save_sae

    def killed(folder: Path, sae: Any) -> list[Path]:
        if sae.layer == 2:
            raise KeyboardInterrupt
        return real(folder, sae)

    monkeypatch.setattr(checkpoint, "save_sae", killed)
    with pytest.raises(KeyboardInterrupt):
        train(settings)
    with pytest.raises(MissingInput, match="not a finished SAE run"):
        find_sae("sae", settings)
    monkeypatch.setattr(checkpoint, "save_sae", real)
    assert len(find_sae(str(train(settings)), settings).layers) == 2


def test_layers_can_be_chosen_and_the_expansion_sets_the_width(settings: Settings) -> None:
    out = train(settings, layers="2", n_features=None, expansion=3)
    assert not (out / "layer_00").exists()
    assert load_sae(out / "layer_02", device=CPU).n_features == 48


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, "batch 128, lr 0.005"),
        ({"lr": 0.01}, "lr 0.01"),
        ({"batch": None, "layers": "0"}, "batch 6,"),
        ({"tokens": None, "epochs": 2}, "3600 row visits, batch 128,"),
        ({"holdout": 0.5}, "1000 rows of 5 problems"),
        ({"layers": "0"}, "layers 0, 32 features, k 2, 1800 rows of 9 problems, 2000 row visits"),
    ],
)
def test_the_plan_is_logged_before_training(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(logging.getLogger("rewardscope"), "propagate", True)
    train(settings, **flags)
    assert said in caplog.text


def test_the_seed_changes_the_weights_and_a_small_buffer_the_order(settings: Settings) -> None:
    weights = [
        load_sae(train(settings, run=name, **flags) / "layer_00", device=CPU).W_enc_DF
        for name, flags in (("a", {}), ("b", {}), ("c", {"seed": 1}), ("d", {"aux_alpha": 0.0, "k": "1"}), ("e", {"k": "1"}))
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[3], weights[4])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"ds_names": ("nothing",)}, "nothing is not there; make it with invoke save-acts"),
        ({"ds_names": ("math-rm-a", "wide")}, "different widths"),
        ({"ds_names": ("math-rm-a", "other-layer")}, "no layer was captured in every folder"),
        ({"layers": "1"}, "layer 1 was not captured; captured are 0,2"),
        ({"k": "33"}, "--k 33 is more than the 32 features"),
        ({"k": "0"}, "--k 0: '0' is no number of at least 1"),
        ({"lr": 0.0}, "--lr 0.0"),
        ({"holdout": 1.0}, "--holdout 1.0"),
        ({"aux_alpha": -1.0}, "--aux-alpha -1.0"),
        ({"ds_names": ()}, "--ds-names is empty"),
        ({"buffer_mib": 0}, "--buffer-mib 0"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(settings: Settings, flags: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, MissingInput), match=message):
        train(settings, **flags)
    assert not settings.sae_checkpoint_dir.exists()


def test_every_field_that_changes_the_result_is_part_of_the_key() -> None:
    free = {f.name for f in dataclasses.fields(train_sae.Config) if not f.metadata["key"]}
    assert free == {"run", "device", "wandb", "force", "save_every", "batch_tokens"}
