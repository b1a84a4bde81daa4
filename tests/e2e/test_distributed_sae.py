"""Two gloo processes on this CPU, started by --processes or torchrun.

Each start costs seconds, so few of them make all comparisons.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.sae.train.ranks import Alone
from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from rewardscope.storage.tables import read_json
from tests.unit.sae.planted import planted_acts, write_acts

PROJECT = Path(__file__).parents[2]
ACTIVATIONS = ("topk", "batchtopk", "jumprelu", "matryoshka")
FLAGS: dict[str, Any] = {
    "ds_names": "math-rm-a",
    "n_features": "0:24,2:32,5:40",
    "k": 2,
    "batch": 100,
    "tokens": 1250,
    "device": "cpu",
}
LONG: dict[str, Any] = {
    "layers": "0,2",
    "n_features": "0:24,2:32",
    "tokens": 8_000,
    "save_every": 10,
}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--"]
STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    for process in STARTED:
        process.kill()
        if process.stdout and not process.stdout.closed:
            process.communicate()
    STARTED.clear()


def start(*command: str, home: Path) -> subprocess.Popen[str]:
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "REWARD_SAES_DATA_DIR": str(home),
        "SAE_CHECKPOINT_DIR": str(home / "checkpoints"),
    }
    STARTED.append(
        subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
    )
    return STARTED[-1]


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait until the process and those that it started have closed their output."""
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def task(**flags: Any) -> list[str]:
    return [
        "train-sae",
        *(f"--{name.replace('_', '-')}={value}" for name, value in (FLAGS | flags).items()),
    ]


def in_two(home: Path, **flags: Any) -> subprocess.Popen[str]:
    return start(sys.executable, "-m", "invoke", *task(processes=2, **flags), home=home)


def torchrun(home: Path, **flags: Any) -> subprocess.Popen[str]:
    return start(*TORCHRUN, "invoke", *task(**flags), home=home)


def lines_of_ours(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what the processes said, without torchrun's report of how they ended."""
    return [line for line in done.stderr.splitlines() if line.startswith("train-sae:")]


def awaited(process: subprocess.Popen[str], condition: Callable[[], Any]) -> Any:
    """Return what the condition says once it is true, while the process works."""
    while not (found := condition()):
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended with {process.wait(0.01)}: {process.communicate()}")
    return found


def worker(process: subprocess.Popen[str], rank: int) -> int | None:
    """Return the id of one of the two processes that it has started, None while they do not run."""
    for number in (
        Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    ):
        with suppress(ProcessLookupError):
            if f"RANK={rank}".encode() in Path(f"/proc/{number}/environ").read_bytes().split(b"\0"):
                return int(number)
    return None


def saved_step(run: Path) -> int:
    for latest in run.parent.glob(f".{run.name}.*.work/state/latest.json"):
        with suppress(MissingInput):
            return read_json(latest)["step"]
    return 0


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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_acts(
        home / "math-rm-a",
        planted_acts(
            n_problems=8,
            rows_per_problem=60,
            layers=(0, 2, 5),
            n_features=20,
            width=16,
            k=2,
            seed=0,
        ),
    )
    return home


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


def test_a_run_of_two_processes_that_is_killed_and_started_again_ends_with_the_same_bits(
    home: Path,
) -> None:
    whole = finished(in_two(home, run="whole", **LONG))
    assert whole.returncode == 0, whole.stderr
    run = home / "checkpoints" / "killed"

    first = in_two(home, run="killed", **LONG)
    awaited(first, lambda: saved_step(run))
    os.kill(worker(first, 1) or 0, signal.SIGKILL)
    done = finished(first)
    assert done.returncode == 1
    making, layers, *rest = done.stderr.splitlines()
    assert making.startswith("train-sae: making") and layers.startswith("train-sae: layers")
    assert [line.split(" (")[0] for line in rest] == ["train-sae: process 1 of 2"], done.stderr
    at = saved_step(run)
    assert 10 <= at < 80

    second = in_two(home, run="killed", **LONG)
    awaited(second, lambda: saved_step(run) > at)
    second.kill()  # and with it the processes that it started, or their output would stay open
    assert f"going on after step {at} of 80" in finished(second).stderr

    at = saved_step(run)
    assert at < 80
    third = finished(in_two(home, run="killed", **LONG))
    assert third.returncode == 0, third.stderr
    assert f"going on after step {at} of 80" in third.stderr

    flags = (
        FLAGS | LONG | {"ds_names": ("math-rm-a",), "k": "2", "run": "whole", "save_every": "10"}
    )
    alone = train_sae.run(
        train_sae.Config(**flags), Settings(data_dir=home, sae_checkpoint_dir=home / "alone")
    )
    for layer in ("layer_00", "layer_02"):
        saes = [
            folder / layer / "sae.safetensors"
            for folder in (alone, home / "checkpoints" / "whole", run)
        ]
        assert saes[1].read_bytes() == saes[2].read_bytes()
        one, two = load_file(saes[0]), load_file(saes[1])
        assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    assert not (run / "state").exists()


@pytest.mark.parametrize(
    ("number", "to", "code", "line"),
    [
        (signal.SIGINT, None, 130, "train-sae: interrupted; the same command goes on from here"),
        (
            signal.SIGTERM,
            None,
            1,
            "train-sae: the 2 processes were stopped by SIGTERM; the same command goes on",
        ),
        (
            signal.SIGKILL,
            1,
            1,
            (
                "train-sae: process 1 of 2 (the first is 0) was ended by SIGKILL, so all were"
                " ended; the same"
            ),
        ),
    ],
)
def test_a_signal_before_the_training_ends_all_processes_with_one_line(
    home: Path, number: signal.Signals, to: int | None, code: int, line: str
) -> None:
    process = in_two(home, run="early")
    started = [awaited(process, lambda rank=rank: worker(process, rank)) for rank in (0, 1)]
    os.kill(process.pid if to is None else started[to], number)
    done = finished(process)  # so the others have ended too
    assert done.returncode == code
    assert done.stderr.startswith(line) and len(done.stderr.splitlines()) == 1, done.stderr


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
