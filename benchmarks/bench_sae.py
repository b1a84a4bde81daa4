"""Training SAEs against SAELens, sparsify, dictionary_learning, plain dense torch and the limits,
on the same rows.

    benchmarks/peers/make_venvs.sh                                   once: the peers' environment
    python -m benchmarks sae                                         the first shape: every table
    python -m benchmarks.bench_sae --shape large --groups topk       d 1024, 16,384 features
    python -m benchmarks.bench_sae --threads 2 --groups topk,layers  wall
    python -m benchmarks.bench_sae --quick

Each trainer is a process of its own that takes steps on command, so that rounds alternate: what
disturbs the machine disturbs all. Rates are rows (times layers) a process CPU second with one
thread, a wall second with more, the median over rounds; ratios are medians of the rounds' ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import keep_row
from rewardscope.paths import PROJECT

PEERS = PROJECT / ".peers" / "bin" / "python"
WORKER = Path(__file__).parent / "peers" / "worker.py"
OWN = ("ours", "ours-plain", "dense", "limit", "matmul")
POOL, RANK, NOISE = 65_536, 64, 0.3


class Shape(NamedTuple):
    width: int
    features: int
    k: int
    batch: int


class Group(NamedTuple):
    """Trainers that are compared with one another, and how long: the steps of a round."""

    trainers: tuple[str, ...]
    layers: int
    activation: str
    auxk: bool
    steps: int
    rounds: int


SHAPES = {"small": Shape(256, 4096, 32, 4096), "large": Shape(1024, 16_384, 64, 2048)}
TOPK = (
    "ours",
    "dense",
    "saelens",
    "saelens-sparse",
    "sparsify",
    "dictionary_learning",
    "limit",
    "matmul",
)
GROUPS = {
    "topk": Group(TOPK, 1, "topk", False, 5, 5),
    "layers": Group(
        tuple(name for name in TOPK if name not in ("saelens", "matmul")), 4, "topk", False, 1, 4
    ),
    "batchtopk": Group(("ours", "saelens", "dictionary_learning"), 1, "batchtopk", False, 3, 4),
    "auxk": Group(
        ("ours", "ours-plain", "saelens", "saelens-sparse", "sparsify", "dictionary_learning"),
        1,
        "topk",
        True,
        1,
        5,
    ),
}


class Worker:
    """A trainer's process."""

    def __init__(self, name: str, job: dict[str, Any]) -> None:
        python = sys.executable if name in OWN else str(PEERS)
        env = {
            **os.environ,
            "OMP_NUM_THREADS": str(job["threads"]),
            "WANDB_MODE": "disabled",
            "HF_HUB_OFFLINE": "1",
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # the imports of some peers are long
        command = [python, "-W", "ignore", str(WORKER), name, json.dumps(job)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=env,
        )
        self.name = name

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"bench sae: {self.name} ended with {self._process.wait()}; run its worker by hand"
                " to see why"
            )
        return json.loads(line)

    def ask(self, order: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def write_rows(path: Path, width: int) -> None:
    """Write rows of rank 64 with noise."""
    rng = np.random.default_rng(0)
    rows_ND = rng.normal(size=(POOL, RANK)) @ rng.normal(
        size=(RANK, width)
    ) / RANK**0.5 + NOISE * rng.normal(size=(POOL, width))
    np.save(path, rows_ND.astype(np.float32))


def measure(shape: Shape, group: Group, *, threads: int, rows: Path) -> list[dict[str, Any]]:
    """Return one row a trainer."""
    job = {
        **shape._asdict(),
        "rows": str(rows),
        "layers": group.layers,
        "activation": group.activation,
        "auxk": group.auxk,
        "threads": threads,
    }
    workers = []
    for name in group.trainers:  # one after the other: their imports would disturb one another
        workers.append(Worker(name, job))
        workers[-1].answer()
    for worker in workers:
        worker.ask("steps 1")  # warm-up
    taken: dict[str, list[dict[str, Any]]] = {worker.name: [] for worker in workers}
    for _ in range(group.rounds):
        for worker in workers:
            taken[worker.name].append(worker.ask(f"steps {group.steps}"))
    found, clock = [], "cpu" if threads == 1 else "wall"
    for worker in workers:
        last, answers = worker.ask("finish"), taken[worker.name]
        worker.end()
        n = group.steps * shape.batch * group.layers
        rates = [n / answer[clock] for answer in answers]
        ratios = [
            answer[clock] / ours[clock] for answer, ours in zip(answers, taken["ours"], strict=True)
        ]
        found.append(
            {
                "trainer": worker.name,
                "torch": last.pop("torch"),
                f"rows_per_{clock}_s": round(statistics.median(rates)),
                "low": round(min(rates)),
                "high": round(max(rates)),
                "ours_is_times": round(statistics.median(ratios), 2),
                "n_rounds": group.rounds,
                **last,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--groups", default=",".join(GROUPS), help="of " + ",".join(GROUPS))
    parser.add_argument("--trainers", help="only these; ours is always there")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int, help="steps of a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two rounds of one step; keeps no row")
    options = parser.parse_args([] if sys.argv[0].endswith("__main__.py") else None)
    shape = SHAPES[options.shape]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npy"
        write_rows(rows, shape.width)
        for name in options.groups.split(","):
            group = GROUPS[name]
            wanted = options.trainers.split(",") if options.trainers else group.trainers
            here = tuple(
                t
                for t in group.trainers
                if (t in wanted or t == "ours") and (t in OWN or PEERS.is_file())
            )
            steps, rounds = (
                (1, 2)
                if options.quick
                else (options.steps or group.steps, options.rounds or group.rounds)
            )
            group = group._replace(trainers=here, steps=steps, rounds=rounds)
            for row in measure(shape, group, threads=options.threads, rows=rows):
                common = {
                    "what": f"sae {name}, float32",
                    **shape._asdict(),
                    "layers": group.layers,
                    "threads": options.threads,
                }
                if options.quick:
                    print(json.dumps(row))
                else:
                    keep_row("sae", common | row)


if __name__ == "__main__":
    main()
