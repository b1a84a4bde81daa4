import dataclasses
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.log import WandbRunLog
from rewardscope.paths import PROJECT
from rewardscope.sae.model.checkpoint import load_sae
from rewardscope.sae.model.runs import find_sae
from rewardscope.sae.train.trainer import Trainer
from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from rewardscope.storage.tables import read_json
from tests.unit.sae.planted import dictionary, planted_acts, write_acts

CPU = torch.device("cpu")
NAMES = ("math-rm-a", "math-rm-b")
SMALL: dict[str, Any] = {
    "ds_names": NAMES,
    "n_features": "32",
    "k": "2",
    "batch": 128,
    "tokens": 2_000,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def acts_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(NAMES):
        made = planted_acts(
            n_problems=10,
            rows_per_problem=100,
            layers=(0, 2),
            n_features=20,
            width=16,
            k=2,
            seed=seed,
        )
        write_acts(home / name, made)
    write_acts(
        home / "wide",
        planted_acts(
            n_problems=2, rows_per_problem=9, layers=(0,), n_features=9, width=24, k=2, seed=0
        ),
    )
    write_acts(
        home / "other-layer",
        planted_acts(
            n_problems=2, rows_per_problem=9, layers=(1,), n_features=9, width=16, k=2, seed=0
        ),
    )
    return home


@pytest.fixture
def settings(acts_home: Path, tmp_path: Path) -> Settings:
    return Settings(data_dir=acts_home, sae_checkpoint_dir=tmp_path / "checkpoints")


def train(settings: Settings, **flags: Any) -> Path:
    return train_sae.run(train_sae.Config(**(SMALL | flags)), settings)


def test_training_finds_the_planted_dictionaries_and_says_how_well(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert sorted(manifest["outputs"]) == ["README.md"] + [
        f"layer_{layer}/{name}"
        for layer in ("00", "02")
        for name in ("cfg.json", "quality.json", "sae.safetensors")
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


def test_a_run_killed_between_two_layers_does_not_pass_for_a_finished_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rewardscope.sae.model import checkpoint

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


_KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from rewardscope.sae.train import trainer as train
from rewardscope.settings import Settings
from rewardscope.stages import train_sae

flags, last = json.loads(sys.argv[1]), int(sys.argv[4])
data, out = Path(sys.argv[2]), Path(sys.argv[3])
real = train.Trainer.step

def step(self, batch):
    if self.n_done == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, batch)

train.Trainer.step = step
train_sae.run(train_sae.Config(**flags), Settings(data_dir=data, sae_checkpoint_dir=out))
"""


@pytest.mark.parametrize(
    "flags", [{"activation": "batchtopk", "freeze": "soft-decoder", "freeze_cosine": 0.95}]
)
def test_a_run_that_is_killed_and_started_again_ends_with_the_same_bits(
    settings: Settings,
    acts_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, Any],
) -> None:
    flags = SMALL | {"tokens": 6_000, "aux_alpha": 0.1, "save_every": "10"} | flags
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = train_sae.run(train_sae.Config(**flags), settings)
        command = [
            sys.executable,
            "-c",
            _KILLED,
            json.dumps(flags),
            str(acts_home),
            str(tmp_path / "killed"),
            "27",
        ]
        killed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        resumed = dataclasses.replace(settings, sae_checkpoint_dir=tmp_path / "killed")
        assert read_json(tmp_path / "killed" / "sae" / "state" / "latest.json")["step"] == 20
        with pytest.raises(MissingInput, match="no manifest"):
            find_sae("sae", resumed)
        steps: list[int] = []
        real = Trainer.step
        monkeypatch.setattr(
            Trainer, "step", lambda self, batch: steps.append(self.n_done) or real(self, batch)
        )
        again = train_sae.run(train_sae.Config(**flags), resumed)
    finally:
        torch.set_num_threads(threads)
    assert steps == list(range(20, 47))
    for layer in ("layer_00", "layer_02"):
        assert (whole / layer / "sae.safetensors").read_bytes() == (
            again / layer / "sae.safetensors"
        ).read_bytes()
        assert read_json(whole / layer / "quality.json") == read_json(
            again / layer / "quality.json"
        )
    assert not (again / "state").exists()


def test_the_state_of_other_settings_is_not_used(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Trainer.step

    def stopped(self: Trainer, batch: Any) -> Any:
        if self.n_done == 7:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(Trainer, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(settings, save_every="3")
    monkeypatch.setattr(Trainer, "step", real)
    assert (settings.sae_checkpoint_dir / "sae" / "state" / "latest.json").is_file()
    out = train(settings, k="3")
    fresh = train(settings, k="3", run="fresh")
    assert (out / "layer_00" / "sae.safetensors").read_bytes() == (
        fresh / "layer_00" / "sae.safetensors"
    ).read_bytes()
    assert not (out / "state").exists()


@pytest.mark.parametrize("activation", ["batchtopk", "jumprelu", "matryoshka"])
def test_every_activation_function_is_trained_saved_and_measured(
    settings: Settings, activation: str
) -> None:
    out = train(
        settings, activation=activation, tokens=30_000, lr=5e-3, prefixes=(0.5, 1.0), bandwidth=0.02
    )
    sae = load_sae(out / "layer_00", device=CPU)
    assert sae.activation == activation
    assert (sae.k is None) == (activation != "matryoshka")
    quality = read_json(out / "layer_00" / "quality.json")
    assert quality["fvu"]["value"] < 0.3
    assert quality["l0"]["value"] == pytest.approx(2, rel=0.3)
    assert read_json(out / "manifest.json")["extra"]["activation"] == activation


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


def test_curves_of_every_layer_reach_an_offline_wandb_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[int, set[str]] = {}
    real = WandbRunLog.log

    def log(self: WandbRunLog, metrics: dict[str, float], *, step: int) -> None:
        logged[step] = set(metrics)
        assert all(np.isfinite(value) for value in metrics.values())
        real(self, metrics, step=step)

    monkeypatch.setattr(WandbRunLog, "log", log)
    train(settings, wandb=True)
    assert set(logged) == {0, 15}
    assert logged[0] == {
        f"{name}/layer_{layer}"
        for name in ("fvu", "l0", "aux", "dead", "grad_norm")
        for layer in (0, 2)
    }
    assert list((settings.data_dir / "wandb").glob("offline-run-*/*.wandb"))


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
        ({"k": "0"}, "--k 0: '0' is no number of at least 1"),
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
    }
