"""A damaged file of each kind: who reads it says so in one line that names it, and the same command
makes it again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from rewardscope.errors import BadRecord
from rewardscope.features.diff_files import read_diff
from rewardscope.features.shares import read_shares
from rewardscope.records import ProbeResult
from rewardscope.sae.model.checkpoint import load_sae
from rewardscope.stages import metrics
from rewardscope.storage.acts import ActStore
from rewardscope.storage.manifests import read_finished, wrong_with
from rewardscope.storage.tables import read_csv_as, read_json_as
from tests.faults.small_tasks import World, contents, leftovers, small_tasks

CPU = torch.device("cpu")


def _read_states(store: ActStore) -> None:
    for layer in store.layers:
        store.layer(layer)


class Damaged(NamedTuple):
    """A file of a task's result, and something that reads it (None: nothing but the eye does)."""

    task: str
    file: str
    """Below the data folder; `*` for any."""
    read: Callable[[World, Path], Any] | None


KINDS = {
    "generations jsonl": Damaged(
        "infer",
        "p_tinymath.jsonl",
        lambda world, path: metrics.run(metrics.Config(dataset=str(path)), world.settings),
    ),
    "imported jsonl": Damaged(
        "import-traces",
        "theirs.jsonl",
        lambda world, path: metrics.run(metrics.Config(dataset=str(path)), world.settings),
    ),
    "metrics json": Damaged(
        "metrics", "new.metrics.json", lambda _, path: read_json_as(path, dict[str, Any])
    ),
    "rows.parquet": Damaged(
        "save-acts", "math-rm-new/rows.parquet", lambda _, path: ActStore(path.parent).rows
    ),
    "sequences.parquet": Damaged(
        "save-acts",
        "math-rm-new/sequences.parquet",
        lambda _, path: list(ActStore(path.parent).sequences),
    ),
    "shard npz": Damaged(
        "save-acts",
        "math-rm-new/hiddens/00000.npz",
        lambda _, path: _read_states(ActStore(path.parents[1])),
    ),
    "probe npz": Damaged("train-linreg", "math-rm-toy_tinymath/linreg/new/layer_01.npz", None),
    "results csv": Damaged(
        "train-linreg",
        "math-rm-toy_tinymath/linreg/new/results.csv",
        lambda _, path: read_csv_as(path, ProbeResult),
    ),
    "diff parquet": Damaged(
        "feature-diff",
        "features/planted/diff/part_01_of_01.parquet",
        lambda _, path: read_diff(path),
    ),
    "diff shares csv": Damaged(
        "feature-diff",
        "features/planted/diff/part_01_of_01.shares.csv",
        lambda _, path: read_shares([path.with_name("part_01_of_01.parquet")]),
    ),
    "SAE weights": Damaged(
        "train-sae",
        "checkpoints/new/layer_00/sae.safetensors",
        lambda _, path: load_sae(path.parent, device=CPU),
    ),
    "SAE config": Damaged(
        "train-sae",
        "checkpoints/new/layer_00/cfg.json",
        lambda _, path: load_sae(path.parent, device=CPU),
    ),
    "quality json": Damaged(
        "train-sae",
        "checkpoints/new/layer_00/quality.json",
        lambda _, path: read_json_as(path, dict[str, Any]),
    ),
    "html page": Damaged("dash", "dash/planted/*.html", None),
    "figure png": Damaged("figures", "figures/probes.png", None),
    "figure pdf": Damaged("figures", "figures/probes.pdf", None),
}


def _flip(path: Path) -> None:
    """Change one bit in the middle of a file, and nothing else of it."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("damage", [_truncate, _flip], ids=["truncated", "flipped"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_and_made_again(
    world: World, kind: str, damage: Callable[[Path], None]
) -> None:
    one = KINDS[kind]
    task = small_tasks(world)[one.task]
    out = world.run(task)
    good = contents(out)
    (path,) = list(world.data.glob(one.file))[:1]
    damage(path)
    (wrong,) = wrong_with(out, read_finished(out), read=True)
    assert wrong.startswith(f"{path} is ")
    if one.read is not None:
        with pytest.raises(BadRecord) as caught:
            one.read(world, path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    world.run(task, force=damage is _flip)  # its size says nothing of a flipped bit
    assert contents(out) == good
    assert not leftovers(world.data)


def test_a_damaged_input_is_refused_by_the_task_that_reads_it(world: World) -> None:
    task = small_tasks(world)["dash"]
    old = contents(world.run(task))
    (world.data / "math-rm-plain" / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadRecord, match=r"math-rm-plain/rows\.parquet is damaged \(4 bytes"):
        world.run(task, force=True)
    assert contents(world.data / task.out) == old
