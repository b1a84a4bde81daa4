import dataclasses
import json
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
from tests.e2e.sae_runs import CPU, NAMES, SMALL, train, write_planted
from tests.unit.sae.planted import dictionary


@pytest.fixture(scope="module")
def acts_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("home"))


@pytest.fixture
def settings(acts_home: Path, tmp_path: Path) -> Settings:
    return Settings(data_dir=acts_home, sae_checkpoint_dir=tmp_path / "checkpoints")


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
        assert quality["fvu"]["value"] < 0.1
        # one problem is too few for an interval
        assert quality["fvu"]["low"] is None and quality["fvu"]["high"] is None
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
    with pytest.raises(MissingInput, match="neither there nor below"):
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
        (latest,) = (tmp_path / "killed").glob(".sae.*.work/state/latest.json")
        assert read_json(latest)["step"] == 20
        with pytest.raises(MissingInput, match="neither there nor below"):
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
    (kept,) = settings.sae_checkpoint_dir.glob(".sae.*.work/state/latest.json")
    out = train(settings, k="3")
    fresh = train(settings, k="3", run="fresh")
    assert (out / "layer_00" / "sae.safetensors").read_bytes() == (
        fresh / "layer_00" / "sae.safetensors"
    ).read_bytes()
    assert not (out / "state").exists() and kept.is_file()


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
