"""save-acts that is killed, damaged or dealt to a job array: the same rows, and nothing computed
twice.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from rewardscope.capturing import saving
from rewardscope.errors import BadRecord
from rewardscope.settings import Settings
from rewardscope.stages import train_linreg
from rewardscope.storage.acts import ActStore
from rewardscope.storage.journal import Journal
from tests.act_files import read_act_rows
from tests.e2e.acts_runs import (
    LAYERS,
    SMALL_GROUP,
    SMALL_SHARD,
    run_stage,
    save,
    shrink,
    write_generations,
)
from tests.unit.prms.tiny_prm import make_prm


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm"), layers=LAYERS))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


def stop_after(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    """Stop the run as it has written `groups` groups."""
    add: Callable[..., None] = Journal.add

    def limited(self: Journal, group: int, **kept: object) -> None:
        if len(self.done) == groups:
            raise KeyboardInterrupt
        add(self, group, **kept)

    monkeypatch.setattr(Journal, "add", limited)


def in_work(data: Path, name: str) -> Path:
    """Return a file of the one unfinished result in a data folder."""
    (found,) = data.glob(f".*.work/{name}")
    return found


@pytest.mark.parametrize("positions", ["step-ends", "all-tokens"])
def test_a_killed_run_goes_on_and_gives_the_very_same_bytes(
    tmp_path: Path,
    prm: str,
    small_shards: None,
    monkeypatch: pytest.MonkeyPatch,
    positions: Literal["step-ends", "all-tokens"],
) -> None:
    whole = save(write_generations(tmp_path / "whole" / "toy.jsonl"), prm, positions=positions)
    path = write_generations(tmp_path / "killed" / "toy.jsonl")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            save(path, prm, positions=positions)
    assert not (tmp_path / "killed" / "math-rm-toy").exists()
    first = in_work(tmp_path / "killed", "hiddens/00000.npz")
    written = first.stat().st_mtime_ns
    again = save(path, prm, positions=positions)
    assert again.shards[0].stat().st_mtime_ns == written  # it was not computed a second time
    assert [shard.name for shard in again.shards] == [shard.name for shard in whole.shards]
    # sha256 of every shard, of rows and of sequences
    assert again.manifest.outputs == whole.manifest.outputs


def test_nothing_of_a_killed_run_is_reused_under_other_settings(
    tmp_path: Path,
    prm: str,
    small_shards: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            save(path, prm, positions="all-tokens")
    kept = in_work(tmp_path, "hiddens/00001.npz")
    store = save(path, prm, layers="1", limit=2)
    assert [file.name for file in (store.folder / "hiddens").iterdir()] == ["00000.npz"]
    assert store.layers == (1,) and {row.problem for row in read_act_rows(store)} == {"toy/0"}
    assert kept.is_file() and str(kept.parents[1]) in capsys.readouterr().err  # named, not dropped


KILLED = """
import os, signal, sys
from pathlib import Path
from rewardscope.capturing import batches, saving
from rewardscope.settings import Settings
from rewardscope.storage import shards
from rewardscope.storage.journal import Journal

saving.SHARD_ROWS = shards.SHARD_ROWS = {shard}
batches.GROUP_TOKENS = {group}
replace, moved = os.replace, []

def kill_at_the_third_shard(source, target):
    moved.append(target)
    if sum(str(path).endswith(".npz") for path in moved) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = kill_at_the_third_shard
from rewardscope.stages.save_acts import Config, run
from tests.act_files import read_act_rows
config = Config(ds_name={path!r}, prm={prm!r}, device="cpu", positions="all-tokens")
run(config, Settings(data_dir=Path({data!r})))
"""


def test_a_run_killed_while_it_writes_a_shard_goes_on_and_gives_identical_rows(
    tmp_path: Path, prm: str, small_shards: None
) -> None:
    whole = save(write_generations(tmp_path / "whole" / "toy.jsonl"), prm, positions="all-tokens")
    path = write_generations(tmp_path / "killed" / "toy.jsonl")
    code = KILLED.format(
        shard=SMALL_SHARD, group=SMALL_GROUP, path=str(path), prm=prm, data=str(path.parent)
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode
        == -signal.SIGKILL
    )
    hiddens = in_work(path.parent, "hiddens")
    assert len(list(hiddens.glob("*.npz"))) == 2 and len(list(hiddens.glob(".*.tmp"))) == 1
    again = save(path, prm, positions="all-tokens")
    assert again.manifest.outputs == whole.manifest.outputs
    assert not list(again.folder.rglob(".*.tmp")) and not hiddens.exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:300] + bytes([content[300] ^ 4]) + content[301:])


@pytest.mark.parametrize("harm", [Path.unlink, truncate, flip])
def test_of_a_finished_folder_only_the_group_of_a_harmed_shard_is_computed_again(
    tmp_path: Path,
    prm: str,
    small_shards: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path], None],
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    store = save(path, prm)
    assert len(store.shards) > 4
    outputs, others = (
        store.manifest.outputs,
        {shard: shard.stat().st_mtime_ns for shard in store.shards if shard != store.shards[2]},
    )
    harm(store.shards[2])
    computed: list[dict] = []
    save_groups = saving.save_groups
    monkeypatch.setattr(
        saving,
        "save_groups",
        lambda source, groups, *rest, **kept: (
            computed.append(groups) or save_groups(source, groups, *rest, **kept)
        ),
    )
    again = save(path, prm)
    assert again.manifest.outputs == outputs
    assert [list(groups) for groups in computed] == [[2]]
    assert all(shard.stat().st_mtime_ns == written for shard, written in others.items())
    assert re.search(r"00002\.npz .*; its group is computed again", capsys.readouterr().err)
    save(path, prm)
    assert len(computed) == 1  # whole again, so it is skipped


def test_a_harmed_shard_is_one_line_where_it_is_read(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    store = save(path, prm)
    whole = store.shards[0].read_bytes()
    for harm, message in (
        (truncate, r"00000\.npz is damaged \(\d+ bytes, \d+ were written\)"),
        (flip, r"00000\.npz is damaged .*CRC"),
    ):
        harm(store.shards[0])
        with pytest.raises(BadRecord, match=message) as caught:
            train_linreg.run(
                train_linreg.Config(ds_name=str(store.folder)), Settings(data_dir=tmp_path)
            )
        assert "\n" not in str(caught.value) and "re-run invoke save-acts" in str(caught.value)
        store.shards[0].write_bytes(whole)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_are_joined_into_the_folder_of_one_run(
    tmp_path: Path, prm: str, small_shards: None, order: tuple[int, ...]
) -> None:
    whole = save(
        write_generations(tmp_path / "whole" / "toy.jsonl"),
        prm,
        positions="all-tokens",
        layers="0,2",
    )
    path = write_generations(tmp_path / "parts" / "toy.jsonl")
    flags = {"prm": prm, "positions": "all-tokens", "layers": "0,2", "total": 3}
    places, times = [], {}
    for part in order:
        for shard in path.parent.glob("*/hiddens/*.npz"):
            times[shard.name] = shard.stat().st_mtime_ns
        places.append(run_stage(path, part=part, **flags))
    joined = ActStore(path.parent / "math-rm-toy")
    assert [place.name for place in places] == [
        *(f"math-rm-toy.part-0{part}-of-03" for part in order[:2]),
        "math-rm-toy",
    ]
    assert joined.manifest.outputs == whole.manifest.outputs
    # moved
    assert times and all(
        (joined.folder / "hiddens" / name).stat().st_mtime_ns == time
        for name, time in times.items()
    )
    assert sorted(folder.name for folder in path.parent.iterdir() if folder.is_dir()) == [
        "math-rm-toy"
    ]
    assert run_stage(path, part=2, **flags) == joined.folder  # nothing is computed again
    assert sorted(folder.name for folder in path.parent.iterdir() if folder.is_dir()) == [
        "math-rm-toy"
    ]


def test_a_part_that_is_done_is_skipped_and_a_join_that_was_stopped_goes_on(
    tmp_path: Path, prm: str, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = save(write_generations(tmp_path / "whole" / "toy.jsonl"), prm)
    path = write_generations(tmp_path / "parts" / "toy.jsonl")
    place = run_stage(path, prm=prm, part=1, total=2)
    made = (place / "manifest.json").read_text()
    assert (
        run_stage(path, prm=prm, part=1, total=2) == place
        and (place / "manifest.json").read_text() == made
    )
    with monkeypatch.context() as patch:
        patch.setattr(
            "rewardscope.storage.acts.write_traces",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            run_stage(path, prm=prm, part=2, total=2)  # its shards are moved by now
    # to load the PRM would fail
    monkeypatch.setattr("rewardscope.prms.scorer.HfScorer.__init__", None)
    joined = ActStore(run_stage(path, prm=prm, part=1, total=2))
    assert joined.manifest.outputs == whole.manifest.outputs


def test_of_a_joined_folder_a_harmed_shard_is_computed_again_whatever_part_is_named(
    tmp_path: Path, prm: str, small_shards: None
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    for part in (1, 2):
        run_stage(path, prm=prm, part=part, total=2)
    store = ActStore(tmp_path / "math-rm-toy")
    truncate(store.shards[1])
    assert run_stage(path, prm=prm, part=2, total=2) == store.folder
    assert ActStore(store.folder).manifest.outputs == store.manifest.outputs
