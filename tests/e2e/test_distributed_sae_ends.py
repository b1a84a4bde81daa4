"""Two processes that are killed or stopped, and what the next run makes of what they left."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from rewardscope.storage.tables import read_json
from tests.e2e.two_processes import FLAGS, end_started, finished, in_two, write_planted

LONG: dict[str, Any] = {
    "layers": "0,2",
    "n_features": "0:24,2:32",
    "tokens": 8_000,
    "save_every": 10,
}


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


def held_before_the_training(process: subprocess.Popen[str]) -> list[int]:
    """Return the ids of the two processes when the second has begun to work.

    The first is stopped as soon as it is there: without it the training cannot begin.
    """
    first = awaited(process, lambda: worker(process, 0))
    os.kill(first, signal.SIGSTOP)
    second = awaited(process, lambda: worker(process, 1))
    maps = Path(f"/proc/{second}/maps")
    awaited(process, lambda: "libtorch_cpu" in maps.read_text(encoding="utf-8"))
    return [first, second]


def saved_step(run: Path) -> int:
    for latest in run.parent.glob(f".{run.name}.*.work/state/latest.json"):
        with suppress(MissingInput):
            return read_json(latest)["step"]
    return 0


@pytest.fixture(autouse=True)
def no_process_outlives_its_test() -> Iterator[None]:
    yield
    end_started()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted(tmp_path_factory.mktemp("home"))


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
    started = held_before_the_training(process)
    os.kill(process.pid if to is None else started[to], number)
    with suppress(ProcessLookupError):
        os.kill(started[0], signal.SIGCONT)
    done = finished(process)  # so the others have ended too
    assert done.returncode == code
    assert done.stderr.startswith(line) and len(done.stderr.splitlines()) == 1, done.stderr
