"""Every writing task on inputs of a few kilobytes, for tests that break its runs."""

import importlib
import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rewardscope.records import Manifest
from rewardscope.search.methods import find_method
from rewardscope.settings import Settings
from rewardscope.stages import (
    dash,
    feature_diff,
    figures,
    import_traces,
    infer,
    infer_with_prm,
    metrics,
    save_acts,
    train_linreg,
    train_sae,
)
from rewardscope.storage.manifests import read_finished, root_of, wrong_with
from tests.e2e.acts_runs import write_generations
from tests.e2e.planted_features import write_inputs
from tests.e2e.searches import small_config
from tests.e2e.toy_acts import make_acts

ACTS, SAE_ACTS = "math-rm-toy_tinymath", "math-rm-plain"
Run = Callable[..., Any]


class SmallTask(NamedTuple):
    """A task with the flags of a run, and of one that gives another result at the same place."""

    name: str
    module: Any
    flags: dict[str, Any]
    other: dict[str, Any]
    out: str
    """The result, below the data folder."""


class World(NamedTuple):
    """A data folder with inputs of every task, and models beside it."""

    data: Path
    policy: Path
    prm: Path

    @property
    def settings(self) -> Settings:
        return Settings(data_dir=self.data, sae_checkpoint_dir=self.data / "checkpoints")

    def copy(self, to: Path) -> "World":
        """Return the same inputs in a folder of their own."""
        shutil.copytree(self.data, to)
        return self._replace(data=to)

    def run(self, task: SmallTask, **flags: Any) -> Path:
        """Run a task; return its result."""
        task.module.run(task.module.Config(**(task.flags | flags)), self.settings)
        return self.data / task.out


def make_world(data: Path, policy: Path, prm: Path) -> World:
    """Write what the tasks read."""
    write_inputs(data)
    make_acts(data, name=ACTS, problems=12)
    write_generations(data / "scored.jsonl", n=3, prm=str(prm))
    write_generations(data / "toy.jsonl", n=3, prm=str(prm))
    row = {"problem": "What is 2+3?", "answer": "5", "solutions": ["Two\n\n\\boxed{5}"]}
    (data / "theirs.json").write_text(json.dumps(row) + "\n", encoding="utf-8")
    world = World(data, policy, prm)
    # what the figure shows
    world.run(small_tasks(world)["train-linreg"], name=None)
    importlib.import_module("figures.fig_probes")
    return world


def small_tasks(world: World) -> dict[str, SmallTask]:
    """Return each task by name."""
    acts, data = str(world.data / ACTS), world.data
    policy, prm = str(world.policy), str(world.prm)
    generating = {"datasets": ("tinymath",), "name": "p"}
    infer_flags = {"model_name": policy, "limit": 3, "n": 1, "max_tokens": 8, "engine": "hf"}
    search_flags = small_config(world.policy, prm) | {"limit": 2, "name": "s"}
    sae = {"ds_names": (str(data / SAE_ACTS),), "run": "new", "n_features": "16", "k": "2"}
    sae |= {"tokens": 600, "batch": 64, "device": "cpu", "save_every": "3"}
    diff = {"reasoning": (str(data / "math-rm-reasoner"),), "instruct": (str(data / SAE_ACTS),)}
    diff |= {"sae": str(data / "checkpoints" / "planted"), "device": "cpu", "resamples": 50}
    pages = {"ds_names": (str(data / SAE_ACTS),), "device": "cpu", "top": 3}
    pages |= {"sae": str(data / "checkpoints" / "planted")}
    saved = {"ds_name": str(data / "toy.jsonl"), "prm": prm, "device": "cpu", "name": "new"}
    seed: dict[str, Any] = {"seed": 1}
    found = [
        SmallTask("infer", infer, infer_flags | generating | {"chunk": 1}, {"max_tokens": 5}, ""),
        SmallTask("infer-with-prm", infer_with_prm, search_flags, seed, ""),
        SmallTask("save-acts", save_acts, saved, {"layers": "0"}, "math-rm-new"),
        SmallTask(
            "train-linreg",
            train_linreg,
            {"ds_name": acts, "name": "new"},
            seed,
            f"{ACTS}/linreg/new",
        ),
        SmallTask("train-sae", train_sae, sae, seed, "checkpoints/new"),
        SmallTask(
            "feature-diff", feature_diff, diff, seed, "features/planted/diff/part_01_of_01.parquet"
        ),
        SmallTask("dash", dash, pages, {"top": 2}, "dash/planted"),
        SmallTask(
            "metrics",
            metrics,
            {"dataset": str(data / "scored.jsonl"), "name": "new"},
            {"aggregation": "min"},
            "new.metrics.json",
        ),
        SmallTask("figures", figures, {"only": "probes"}, {}, "figures/probes.png"),
        SmallTask(
            "import-traces",
            import_traces,
            {"files": (str(data / "theirs.json"),), "kind": "plain"},
            {"delimiter": "o"},
            "theirs.jsonl",
        ),
    ]
    suffix = find_method(infer_with_prm.Config(**search_flags).search).suffix
    places = {"infer": "p_tinymath.jsonl", "infer-with-prm": f"s_tinymath{suffix}.jsonl"}
    return {task.name: task._replace(out=places.get(task.name, task.out)) for task in found}


def contents(result: Path) -> dict[str, bytes]:
    """Return the files of a finished and whole result, without the times that they hold."""
    manifest: Manifest = read_finished(result)
    assert not list(wrong_with(result, manifest, read=True))
    return {
        name: _timeless(name, (root_of(result) / name).read_bytes()) for name in manifest.outputs
    }


def _timeless(name: str, content: bytes) -> bytes:
    if not name.endswith(".jsonl"):
        return content
    rows = [json.loads(line) for line in content.splitlines()]
    for row in rows:
        row.get("cost", {}).pop("seconds", None)
    return json.dumps(rows).encode()


def leftovers(folder: Path) -> list[str]:
    """Return the hidden files and work folders below a folder."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob(".*")
        if path.name not in (".groups.jsonl",)
    )


def in_child(work: Callable[[], object], *, report: Path) -> int:
    """Run `work` in a forked process; return its exit status, negative for a signal.

    What it raised is in `report`, one line.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            report.write_text(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
