"""Two gloo processes on this CPU, started by torchrun. Each start costs seconds, so one of them makes all comparisons."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rewardscope.errors import ConfigError
from rewardscope.sae.ranks import Alone
from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from rewardscope.storage.tables import read_json
from tests.unit.sae.planted import planted_acts, write_acts

PROJECT = Path(__file__).parents[2]
ACTIVATIONS = ("topk", "batchtopk", "jumprelu", "matryoshka")
FLAGS: dict[str, Any] = {"ds_names": "math-rm-a", "n_features": "0:24,2:32,5:40", "k": 2, "batch": 100, "tokens": 1250, "device": "cpu"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--"]


def torchrun(*command: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "REWARD_SAES_DATA_DIR": str(home), "SAE_CHECKPOINT_DIR": str(home / "checkpoints")}
    return subprocess.run([*TORCHRUN, *command], cwd=PROJECT, capture_output=True, text=True, check=False, env=env, timeout=600)


def train(home: Path, **flags: Any) -> subprocess.CompletedProcess[str]:
    told = [f"--{name.replace('_', '-')}={value}" for name, value in (FLAGS | flags).items()]
    return torchrun("invoke", "train-sae", *told, home=home)


def lines_of_ours(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what the processes said, without torchrun's report of how they ended."""
    return [line for line in done.stderr.splitlines() if line.startswith("train-sae:")]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], subprocess.CompletedProcess[str]]:
    """Return what each process found, and how the run ended after process 1 was killed."""
    folder = tmp_path_factory.mktemp("cases")
    done = torchrun("tests.unit.sae.distributed_cases", str(folder), home=folder)
    assert (folder / "process_1.json").exists(), done.stderr
    return [json.loads((folder / f"process_{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)], done


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_acts(home / "math-rm-a", planted_acts(n_problems=8, rows_per_problem=60, layers=(0, 2, 5), n_features=20, width=16, k=2, seed=0))
    return home


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_processes_that_share_rows_train_what_one_process_does(cases: Any, activation: str) -> None:
    for found in (process["rows"][activation] for process in cases[0]):
        assert found["clipped"] and found["aux"] and found["moved"] > 1e-3
        assert found["alone"] < 1e-5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_processes_with_layers_of_their_own_train_the_very_same_bits(cases: Any, activation: str) -> None:
    for found in (process["layers"][activation] for process in cases[0]):
        assert found["clipped"] and found["aux"] and found["moved"] > 1e-3
        assert found["alone"] == 0


@pytest.mark.parametrize("mode", ["rows", "layers"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_run_goes_on_from_its_state_as_if_it_had_not_stopped_also_in_one_process(cases: Any, activation: str, mode: str) -> None:
    for found in (process[mode][activation] for process in cases[0]):
        assert found["resumed at"] == [5, 5]
        assert found["resumed"] == 0
        assert found["resumed alone"] <= (1e-5 if mode == "rows" else 0)


def test_of_equal_values_at_the_border_processes_choose_those_that_one_process_does(cases: Any) -> None:
    (first, second), rows_of_the_first = [process["ties"] for process in cases[0]], 2
    assert len(first["alone"]) == 12
    assert first["alone"] == first["own"] + [[row + rows_of_the_first, feature] for row, feature in second["own"]]


def test_a_process_that_is_killed_ends_the_run_with_one_line(cases: Any) -> None:
    done = cases[1]
    assert done.returncode == 1
    (line,) = [line for line in lines_of_ours(done) if "going on after" not in line]
    assert line.startswith("train-sae: process 1 of 2 (the first is 0) died or stopped answering")


def test_the_task_spread_over_processes_writes_what_it_writes_alone(home: Path) -> None:
    done = train(home, distributed="layers", run="together", buffer_mib=1, save_every=3)
    assert done.returncode == 0, done.stderr
    said = [line.split(" in ")[0] for line in lines_of_ours(done)]
    assert [line.split()[1] for line in said] == ["making", "layers", str(home / "checkpoints" / "together")], done.stderr
    assert len(done.stdout.splitlines()) == 5  # one table
    alone = Settings(data_dir=home, sae_checkpoint_dir=home / "alone")
    flags = FLAGS | {"ds_names": ("math-rm-a",), "k": "2", "run": "together", "buffer_mib": 1}
    expected, out = train_sae.run(train_sae.Config(**flags), alone), home / "checkpoints" / "together"
    for layer in ("layer_00", "layer_02", "layer_05"):
        pairs = [load_file(folder / layer / "sae.safetensors") for folder in (expected, out)]
        assert all(pairs[0][name].equal(pairs[1][name]) for name in pairs[0])
        assert read_json(expected / layer / "quality.json") == read_json(out / layer / "quality.json")
    assert read_json(expected / "manifest.json")["outputs"] == read_json(out / "manifest.json")["outputs"]
    assert not (out / "state").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"distributed": "layers", "layers": "0", "n_features": 24}, "--distributed layers: 2 processes, but 1 layers"),
        ({"distributed": "none", "lr": 0}, "--lr 0.0: it must be above 0"),
    ],
)
def test_what_cannot_work_is_said_once(home: Path, flags: dict[str, Any], message: str) -> None:
    done = train(home, run="wrong", **flags)
    assert done.returncode == 1
    (line,) = lines_of_ours(done)
    assert message in line
    assert not (home / "checkpoints" / "wrong").exists()


@pytest.mark.parametrize(("batch", "n_rows", "least"), [(2, 10, 2), (100, 302, 2), (100, 300, None)])
def test_a_batch_too_small_to_share_is_found_before_training(batch: int, n_rows: int, least: int | None) -> None:
    team = Alone()
    team.least_batch = 3
    if least is None:
        train_sae._check_shares(batch, n_rows, team)
    else:
        with pytest.raises(ConfigError, match=f"a batch has {least} rows, too few"):
            train_sae._check_shares(batch, n_rows, team)


def test_several_processes_need_torchrun(home: Path) -> None:
    settings = Settings(data_dir=home, sae_checkpoint_dir=home / "alone")
    with pytest.raises(ConfigError, match="--distributed rows needs several processes; start torchrun"):
        train_sae.run(train_sae.Config(ds_names=("math-rm-a",), distributed="rows"), settings)
