"""save-acts that is killed, damaged or dealt to a job array: the same rows, and nothing computed twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from rewardscope.storage.journal import Journal
from tests.e2e.acts_runs import LAYERS, save, shrink, write_generations
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


@pytest.mark.parametrize("positions", ["step-ends", "all-tokens"])
def test_a_killed_run_goes_on_and_gives_the_very_same_bytes(
    tmp_path: Path, prm: str, small_shards: None, monkeypatch: pytest.MonkeyPatch, positions: Literal["step-ends", "all-tokens"]
) -> None:
    whole = save(write_generations(tmp_path / "whole" / "toy.jsonl"), prm, positions=positions)
    path = write_generations(tmp_path / "killed" / "toy.jsonl")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            save(path, prm, positions=positions)
    out = tmp_path / "killed" / "math-rm-toy"
    assert not (out / "manifest.json").exists()
    first = out / "hiddens" / "00000.npz"
    written = first.stat().st_mtime_ns
    again = save(path, prm, positions=positions)
    assert first.stat().st_mtime_ns == written  # it was not computed a second time
    assert [shard.name for shard in again.shards] == [shard.name for shard in whole.shards]
    assert again.manifest["outputs"] == whole.manifest["outputs"]  # sha256 of every shard, of rows and of sequences


def test_nothing_of_a_killed_run_is_reused_under_other_settings(
    tmp_path: Path, prm: str, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            save(path, prm, positions="all-tokens")
    assert (tmp_path / "math-rm-toy" / "hiddens" / "00001.npz").is_file()
    store = save(path, prm, layers="1", limit=2)
    assert [file.name for file in (store.folder / "hiddens").iterdir()] == ["00000.npz"]
    assert store.layers == (1,) and {row.problem for row in store.iter_rows()} == {"toy/0"}
