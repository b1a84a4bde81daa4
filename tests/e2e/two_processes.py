"""train-sae in two gloo processes on this CPU, started by --processes or torchrun."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit.sae.planted import planted_acts, write_acts

PROJECT = Path(__file__).parents[2]


FLAGS: dict[str, Any] = {
    "ds_names": "math-rm-a",
    "n_features": "0:24,2:32,5:40",
    "k": 2,
    "batch": 100,
    "tokens": 1250,
    "device": "cpu",
}


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--"]


STARTED: list[subprocess.Popen[str]] = []


def end_started() -> None:
    """Kill what is still running, and with it the processes that it has started."""
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


def write_planted(home: Path) -> Path:
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
