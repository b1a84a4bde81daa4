"""The journal of shards: what is whole is kept, what is not is named, and shards move between
folders without loss.
"""

import os
from pathlib import Path

import pytest
import torch

from rewardscope.storage.journal import Journal, find_damaged
from rewardscope.storage.shards import shard_file, write_shard

SCORES = ((0.25, 0.1), None)


def write_group(journal: Journal, group: int, *shards: int) -> list[Path]:
    """Write shards that hold the number of their group, and record them."""
    paths = [shard_file(journal.folder, shard) for shard in shards]
    journal.add(
        group,
        shards=[write_shard(path, {0: [torch.full((2, 3), float(group))]}) for path in paths],
        scores=SCORES,
    )
    return paths


def test_finished_groups_and_their_scores_come_back_under_the_same_key(tmp_path: Path) -> None:
    first = Journal(tmp_path, "key", resume=True)
    paths = write_group(first, 0, 0) + write_group(first, 1, 1, 2)
    with (tmp_path / ".groups.jsonl").open("a") as out:
        out.write('{"group": 2, "sha')  # killed while it wrote
    again = Journal(tmp_path, "key", resume=True)
    assert again.done == first.done and again.done[0].scores == SCORES
    assert [mark.name for mark in again.marks()] == [
        "hiddens/00000.npz",
        "hiddens/00001.npz",
        "hiddens/00002.npz",
    ]
    assert all(path.is_file() for path in paths)
    write_group(again, 2, 3)
    assert sorted(Journal(tmp_path, "key", resume=True).done) == [0, 1, 2]


def test_a_group_with_a_shard_that_is_gone_is_not_done_and_its_other_shards_go(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, "key", resume=True)
    lost, other = write_group(journal, 0, 0, 1)
    lost.unlink()
    [kept] = write_group(journal, 1, 2)
    assert sorted(Journal(tmp_path, "key", resume=True).done) == [1]
    assert kept.is_file() and not other.exists()


@pytest.mark.parametrize(("key", "resume"), [("other", True), ("key", False)])
def test_shards_of_another_key_or_before_force_are_removed(
    tmp_path: Path, key: str, resume: bool
) -> None:
    [path] = write_group(Journal(tmp_path, "key", resume=True), 0, 0)
    torn = path.with_name(".00001.npz.77.tmp")
    torn.write_bytes(b"half")
    assert Journal(tmp_path, key, resume=resume).done == {}
    assert not path.exists() and not torn.exists()


def test_damage_is_told_by_length_and_where_the_time_changed_by_content(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "key", resume=True)
    paths = [write_group(journal, number, number)[0] for number in range(4)]
    assert find_damaged(tmp_path) == []
    paths[0].write_bytes(paths[0].read_bytes()[:-5])
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    paths[2].unlink()
    os.utime(paths[3], ns=(1, 1))  # touched only
    size = len(whole)
    assert find_damaged(tmp_path) == [
        f"{paths[0]} has {size - 5} bytes, {size} were written",
        f"{paths[1]} was altered after it was written",
        f"{paths[2]} is not there",
    ]
    assert [path.is_file() for path in paths] == [True, True, False, True]  # nothing is removed
    assert sorted(Journal(tmp_path, "key", resume=True).done) == [3]


def test_a_folder_without_a_journal_has_nothing_that_could_be_damaged(tmp_path: Path) -> None:
    assert find_damaged(tmp_path / "absent") == []


def test_whole_groups_of_another_folder_are_linked_and_stay_where_they_are(tmp_path: Path) -> None:
    old = Journal(tmp_path / "old", "key", resume=True)
    paths = [write_group(old, number, number)[0] for number in range(3)]
    paths[1].write_bytes(paths[1].read_bytes()[:-5])
    new = Journal(tmp_path / "new", "key", resume=True)
    new.link(tmp_path / "old")
    assert sorted(new.done) == [0, 2] and new.done[2] == old.done[2]
    assert (tmp_path / "new" / "hiddens" / "00002.npz").read_bytes() == paths[2].read_bytes()
    assert all(path.is_file() for path in paths)
    other = Journal(tmp_path / "other", "other key", resume=True)
    other.link(tmp_path / "old")
    assert other.done == {}


def test_shards_move_and_a_move_that_was_killed_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts() -> list[Journal]:
        return [Journal(tmp_path / name, "key", resume=True) for name in ("one", "two")]

    one, two = parts()
    write_group(one, 0, 0)
    write_group(one, 2, 2)
    write_group(two, 1, 1)
    contents = [
        shard_file(journal.folder, shard).read_bytes()
        for journal, shard in ((one, 0), (two, 1), (one, 2))
    ]
    replace, moved = os.replace, []

    def killed(source: Path, target: Path) -> None:
        if str(source).endswith(".npz"):
            moved.append(source)
            if len(moved) == 2:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Journal(tmp_path / "whole", "key", resume=True).adopt(parts())
    monkeypatch.setattr(os, "replace", replace)
    whole = Journal(tmp_path / "whole", "key", resume=True)
    assert len(whole.done) == 1
    whole.adopt(parts())
    assert sorted(Journal(tmp_path / "whole", "key", resume=True).done) == [0, 1, 2]
    assert [shard_file(whole.folder, shard).read_bytes() for shard in range(3)] == contents
    assert not list((tmp_path / "one" / "hiddens").iterdir())
