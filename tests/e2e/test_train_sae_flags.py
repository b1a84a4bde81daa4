"""What the flags of train-sae change, and which it refuses."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.sae.model.checkpoint import load_sae
from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from rewardscope.storage.tables import read_json
from tests.e2e.sae_runs import CPU, NAMES, train, write_planted


@pytest.fixture(scope="module")
def acts_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("home"))


@pytest.fixture
def settings(acts_home: Path, tmp_path: Path) -> Settings:
    return Settings(data_dir=acts_home, sae_checkpoint_dir=tmp_path / "checkpoints")


@pytest.mark.parametrize("freeze", ["decoder", "soft-decoder", "encoder"])
def test_a_baseline_says_what_it_is_in_every_file_and_is_another_run(
    settings: Settings, freeze: Any
) -> None:
    out = train(settings, freeze=freeze, layers="0")
    metadata = read_json(out / "layer_00" / "cfg.json")["metadata"]
    assert metadata["freeze"] == freeze
    assert metadata.get("freeze_cosine") == (0.8 if freeze == "soft-decoder" else None)
    assert "a baseline (arXiv 2602.14111)" in (out / "README.md").read_text(encoding="utf-8")
    assert read_json(out / "manifest.json")["extra"]["freeze"] == freeze
    with pytest.raises(ConfigError, match=r"freeze.*--force"):
        train(settings, layers="0")


def test_results_from_before_a_flag_was_there_still_stand_except_smoothed_thresholds() -> None:
    plain, batch = (
        train_sae.Config(ds_names=NAMES, activation=activation).result_settings()
        for activation in ("topk", "batchtopk")
    )
    assert not {"freeze", "freeze_cosine", "threshold"} & set(plain)
    assert batch["threshold"] == "of the final weights"


def test_layers_may_differ_in_features_and_k(settings: Settings) -> None:
    out = train(settings, n_features="0:32,2:48", k="2,3")
    saes = [load_sae(out / layer, device=CPU) for layer in ("layer_00", "layer_02")]
    assert [(sae.n_features, sae.k) for sae in saes] == [(32, 2), (48, 3)]
    assert read_json(out / "manifest.json")["extra"]["n_features"] == {"0": 32, "2": 48}


def test_every_flag_of_training_has_an_effect(settings: Settings) -> None:
    common: dict[str, Any] = {"layers": "0", "tokens": 1_000}
    plain = {
        a: train(settings, run=f"plain-{a}", activation=a, **common)
        for a in ("topk", "jumprelu", "matryoshka")
    }
    changes: list[tuple[str, dict[str, Any]]] = [
        ("topk", {"warmup": 0.5}),
        ("topk", {"decay": 0.9}),
        ("topk", {"clip": 1e-6}),
        ("topk", {"precision": "bf16"}),
        ("topk", {"aux_k": 1, "aux_alpha": 100.0, "tokens": 5_000}),
        ("jumprelu", {"l0_weight": 50.0}),
        ("jumprelu", {"bandwidth": 0.5}),
        ("matryoshka", {"prefixes": (0.2, 1.0)}),
    ]
    for number, (activation, change) in enumerate(changes):
        out = train(settings, run=f"changed-{number}", activation=activation, **(common | change))
        changed, same = (
            load_sae(folder / "layer_00", device=CPU).W_enc_DF
            for folder in (out, plain[activation])
        )
        assert not torch.equal(changed, same), change


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
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr(logging.getLogger("rewardscope"), "propagate", True)
    train(settings, **flags)
    assert said in caplog.text


def test_the_seed_changes_the_weights_and_a_small_buffer_the_order(settings: Settings) -> None:
    weights = [
        load_sae(train(settings, run=name, **flags) / "layer_00", device=CPU).W_enc_DF
        for name, flags in (
            ("a", {}),
            ("b", {}),
            ("c", {"seed": 1}),
            ("d", {"aux_alpha": 0.0, "k": "1"}),
            ("e", {"k": "1"}),
        )
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
        ({"k": "0"}, "--k 0: '0' is no number from 1 to"),
        ({"lr": 0.0}, "--lr 0.0"),
        ({"holdout": 1.0}, "--holdout 1.0"),
        ({"aux_alpha": -1.0}, "--aux-alpha -1.0"),
        ({"ds_names": ()}, "--ds-names is empty"),
        ({"buffer_mib": 0}, "--buffer-mib 0"),
        ({"source": "stream"}, "--generations is empty"),
        ({"k": "0:2"}, "--k 0:2: nothing for layers 2"),
        ({"n_features": "9,9,9"}, "3 numbers for 2 layers"),
        ({"prefixes": (0.5, 0.25, 1.0)}, "--prefixes"),
        ({"save_every": "often"}, "--save-every often"),
        ({"clip": -1.0}, "--clip -1.0"),
        ({"warmup": 1.0}, "--warmup 1.0"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    settings: Settings, flags: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, MissingInput), match=message):
        train(settings, **flags)
    assert not settings.sae_checkpoint_dir.exists()


def test_every_field_that_changes_the_result_is_part_of_the_key() -> None:
    free = {f.name for f in dataclasses.fields(train_sae.Config) if not f.metadata["key"]}
    assert free == {
        "run",
        "device",
        "distributed",
        "processes",
        "wandb",
        "force",
        "save_every",
        "batch_tokens",
        "revision",  # part of the name of the model
    }
