"""Time alternatives side by side and keep the rows."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"


class Seconds(NamedTuple):
    """The least that was seen; the two need not be of the same round."""

    cpu: float
    wall: float


def best_seconds(
    alternatives: dict[str, Callable[[], object]], *, rounds: int
) -> dict[str, Seconds]:
    """Time each alternative over alternating rounds, after one warm-up round.

    CPU seconds of the process with one thread hold still on a shared machine, wall seconds do not.
    """
    best = dict.fromkeys(alternatives, Seconds(float("inf"), float("inf")))
    for number in range(rounds + 1):
        for name, run in alternatives.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            took = Seconds(time.process_time() - cpu, time.perf_counter() - wall)
            if number > 0:
                best[name] = Seconds(*map(min, best[name], took))
    return best


def best_cpu_seconds(
    alternatives: dict[str, Callable[[], object]], *, rounds: int
) -> dict[str, float]:
    """Return the least process CPU seconds of each alternative."""
    return {
        name: seconds.cpu for name, seconds in best_seconds(alternatives, rounds=rounds).items()
    }


def keep_row(what: str, row: dict[str, object]) -> None:
    """Append a row with the machine, the date and the commit to `results/<what>.jsonl` and print
    it.
    """
    full = {
        **row,
        "commit": _commit(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{what}.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(full) + "\n")
    print(json.dumps(full, indent=1))


def _commit() -> str:
    """Return the commit that is checked out, with a + where files differ from it."""
    command = ("git", "describe", "--always", "--abbrev=7", "--exclude=*", "--dirty=+")
    done = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()
