"""Two gloo processes on this CPU, started by --processes or torchrun.

Each start costs seconds, so few of them make all comparisons.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rewardscope.errors import ConfigError
from rewardscope.sae.train.ranks import Alone
from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from rewardscope.storage.tables import read_json
from tests.e2e.two_processes import (
    FLAGS,
    PROJECT,
    TORCHRUN,
    end_started,
    finished,
    in_two,
    lines_of_ours,
    start,
    torchrun,
    write_planted,
)

ACTIVATIONS = ("topk", "batchtopk", "jumprelu", "matryoshka")


@pytest.fixture(scope="module")
def cases(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[dict[str, Any]], subprocess.CompletedProcess[str]]:
    """Return what each process found, and how the run ended after process 1 was killed."""
    folder = tmp_path_factory.mktemp("cases")
    done = finished(start(*TORCHRUN, "tests.unit.sae.distributed_cases", str(folder), home=folder))
    assert (folder / "process_1.json").exists(), done.stderr
    return [
        json.loads((folder / f"process_{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)
    ], done


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    end_started()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_processes_that_share_rows_train_what_one_process_does(cases: Any, activation: str) -> None:
    for found in (process["rows"][activation] for process in cases[0]):
        assert found["clipped"] and found["aux"] and found["moved"] > 1e-3
        assert found["alone"] < 1e-5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_processes_with_layers_of_their_own_train_the_very_same_bits(
    cases: Any, activation: str
) -> None:
    for found in (process["layers"][activation] for process in cases[0]):
        assert found["clipped"] and found["aux"] and found["moved"] > 1e-3
        assert found["alone"] == 0


@pytest.mark.parametrize("mode", ["rows", "layers"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_run_goes_on_from_its_state_as_if_it_had_not_stopped_also_in_one_process(
    cases: Any, activation: str, mode: str
) -> None:
    for found in (process[mode][activation] for process in cases[0]):
        assert found["resumed at"] == [5, 5]
        assert found["resumed"] == 0
        assert found["resumed alone"] <= (1e-5 if mode == "rows" else 0)


def test_of_equal_values_at_the_border_processes_choose_those_that_one_process_does(
    cases: Any,
) -> None:
    (first, second), rows_of_the_first = [process["ties"] for process in cases[0]], 2
    assert len(first["alone"]) == 12
    assert first["alone"] == first["own"] + [
        [row + rows_of_the_first, feature] for row, feature in second["own"]
    ]


def test_a_process_that_is_killed_ends_the_run_with_one_line(cases: Any) -> None:
    done = cases[1]
    assert done.returncode == 1
    (line,) = [line for line in lines_of_ours(done) if "going on after" not in line]
    assert line.startswith("train-sae: process 1 of 2 (the first is 0) died or stopped answering")


@pytest.mark.parametrize("starter", [in_two, torchrun])
def test_the_task_spread_over_processes_writes_what_it_writes_alone(
    starter: Any, home: Path
) -> None:
    run = starter.__name__
    done = finished(starter(home, distributed="layers", run=run, buffer_mib=1, save_every=3))
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in lines_of_ours(done)] == [
        "making",
        "layers",
        str(home / "checkpoints" / run),
    ], done.stderr
    assert starter is torchrun or len(done.stderr.splitlines()) == 3, done.stderr
    assert len(done.stdout.splitlines()) == 5  # one table
    alone = Settings(data_dir=home, sae_checkpoint_dir=home / "alone")
    flags = FLAGS | {"ds_names": ("math-rm-a",), "k": "2", "run": run, "buffer_mib": 1}
    expected, out = train_sae.run(train_sae.Config(**flags), alone), home / "checkpoints" / run
    for layer in ("layer_00", "layer_02", "layer_05"):
        pairs = [load_file(folder / layer / "sae.safetensors") for folder in (expected, out)]
        assert all(pairs[0][name].equal(pairs[1][name]) for name in pairs[0])
        assert read_json(expected / layer / "quality.json") == read_json(
            out / layer / "quality.json"
        )
    assert (
        read_json(expected / "manifest.json")["outputs"]
        == read_json(out / "manifest.json")["outputs"]
    )
    assert not (out / "state").exists()


def test_processes_that_are_not_needed_are_not_started(home: Path) -> None:
    settings = Settings(data_dir=home, sae_checkpoint_dir=home / "skipped")
    flags = FLAGS | {"ds_names": ("math-rm-a",), "k": "2"}
    written = (
        (train_sae.run(train_sae.Config(**flags), settings) / "manifest.json").stat().st_mtime_ns
    )
    code = (
        "import sys; from pathlib import Path; from rewardscope.settings import Settings; from"
        f" rewardscope.stages import train_sae; settings = Settings(data_dir=Path({str(home)!r}),"
        f" sae_checkpoint_dir=Path({str(home / 'skipped')!r}));"
        f" train_sae.run(train_sae.Config(**{flags!r}, processes=2), settings); assert 'torch' not"
        " in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"train-sae: {home / 'skipped' / 'sae'} is done (420 rows), skipped\n"
    assert (home / "skipped" / "sae" / "manifest.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("starter", "flags", "message"),
    [
        (
            in_two,
            {"distributed": "layers", "layers": "0", "n_features": 24},
            "--distributed layers: 2 processes, but 1 layers",
        ),
        (torchrun, {"distributed": "none", "lr": 0}, "--lr 0.0: it must be above 0"),
    ],
)
def test_what_cannot_work_is_said_once(
    home: Path, starter: Any, flags: dict[str, Any], message: str
) -> None:
    done = finished(starter(home, run="wrong", **flags))
    assert done.returncode == 1
    (line,) = lines_of_ours(done)
    assert message in line
    assert starter is torchrun or len(done.stderr.splitlines()) == 1, done.stderr
    assert not (home / "checkpoints" / "wrong").exists()


@pytest.mark.parametrize(
    ("batch", "n_rows", "least"), [(2, 10, 2), (100, 302, 2), (100, 300, None)]
)
def test_a_batch_too_small_to_share_is_found_before_training(
    batch: int, n_rows: int, least: int | None
) -> None:
    team = Alone()
    team.least_batch = 3
    if least is None:
        train_sae._check_shares(batch, n_rows, team)
    else:
        with pytest.raises(ConfigError, match=f"a batch has {least} rows, too few"):
            train_sae._check_shares(batch, n_rows, team)


def test_work_is_not_shared_by_one_process(home: Path) -> None:
    settings = Settings(data_dir=home, sae_checkpoint_dir=home / "alone")
    with pytest.raises(
        ConfigError, match="--distributed rows needs several processes; add --processes 2, or"
    ):
        train_sae.run(train_sae.Config(ds_names=("math-rm-a",), distributed="rows"), settings)
