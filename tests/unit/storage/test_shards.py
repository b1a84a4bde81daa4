"""Activation shards: what is written is what is read, damage is named, and a killed run goes on."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.errors import BadRecord, MissingInput, UnknownName
from rewardscope.records import ActRow
from rewardscope.storage.shards import ActStore, PartialActs, read_layer, shard_file, write_act_rows, write_shard

WIDTH = 3


def make_store(folder: Path, *, sizes: tuple[int, ...] = (4, 2), layers: tuple[int, ...] = (0, 2)) -> ActStore:
    """Write a whole save-acts folder by hand; the state of row r in layer l is [100 l + r, 0, 0]."""
    names, row = [], 0
    for index, size in enumerate(sizes):
        first = torch.arange(row, row + size, dtype=torch.float32)
        acts = {layer: torch.stack([first + 100 * layer, torch.zeros(size), torch.zeros(size)], dim=1) for layer in layers}
        write_shard(shard_file(folder, index), acts)
        names.append(f"hiddens/{index:05d}.npz")
        row += size
    rows = [ActRow(problem=f"p/{r}", trace=0, step=0, token=r, token_id=r, is_step_end=True, reward=0.5, correct=None) for r in range(row)]
    write_act_rows(folder, rows, [{"problem": "p/0", "trace": 0, "tokens": ["a"], "step_ends": [0]}])
    manifest = {
        "stage": "save-acts", "settings": {"prm": "x"}, "rows": row, "extra": {"layers": list(layers), "width": WIDTH},
        "outputs": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return ActStore(folder)


def test_every_bfloat16_bit_pattern_survives_a_round_trip(tmp_path: Path) -> None:
    bits = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(1024, 64)
    write_shard(tmp_path / "s.npz", {7: bits.view(torch.bfloat16)})
    read = read_layer(tmp_path / "s.npz", 7)
    # A bfloat16 is the upper half of a float32, so the expected value is made from the bits by numpy alone.
    expected = (np.arange(65536, dtype=np.uint32) << 16).view(np.float32).reshape(1024, 64)
    assert read.dtype == torch.float32
    np.testing.assert_array_equal(read.numpy(), expected)  # NaN patterns count as equal


def test_float32_survives_a_round_trip_and_members_are_named_by_layer(tmp_path: Path) -> None:
    acts = {layer: torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(layer)) for layer in (11, 0)}
    write_shard(tmp_path / "s.npz", acts)
    with np.load(tmp_path / "s.npz") as shard:
        assert shard.files == ["layer_00", "layer_11"]
    assert all(torch.equal(read_layer(tmp_path / "s.npz", layer), acts[layer]) for layer in acts)


def test_a_slice_of_a_larger_tensor_is_stored_alone(tmp_path: Path) -> None:
    wide = torch.randn(8, 2 * WIDTH, dtype=torch.bfloat16)
    write_shard(tmp_path / "s.npz", {0: wide[::2, WIDTH:]})
    assert torch.equal(read_layer(tmp_path / "s.npz", 0), wide[::2, WIDTH:].float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_type_that_would_lose_range_or_waste_space_is_a_broken_invariant(tmp_path: Path, dtype: torch.dtype) -> None:
    with pytest.raises(AssertionError):
        write_shard(tmp_path / "s.npz", {0: torch.zeros(1, 1, dtype=dtype)})


def test_any_changed_byte_is_named_or_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    acts = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    write_shard(path, {0: acts})
    whole, named = path.read_bytes(), 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            read = read_layer(path, 0)
        except BadRecord as error:
            named += str(path) in str(error)
        else:
            assert torch.equal(read, acts), position
    assert named >= acts.numel() * 4  # at the least every byte of the states


def test_a_torn_shard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    write_shard(path, {0: torch.ones(4, WIDTH)})
    for size in (0, 10, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(BadRecord, match=r"s\.npz is damaged .* re-run invoke save-acts"):
            read_layer(path, 0)


def test_a_missing_shard_and_a_missing_layer_are_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.npz", {0: torch.ones(4, WIDTH)})
    with pytest.raises(BadRecord, match=r"s\.npz has no layer 3"):
        read_layer(tmp_path / "s.npz", 3)
    with pytest.raises(MissingInput, match=r"t\.npz is not there"):
        read_layer(tmp_path / "t.npz", 0)


def test_a_store_gives_the_rows_of_a_layer_in_shard_order(tmp_path: Path) -> None:
    store = make_store(tmp_path / "acts")
    assert [len(chunk) for chunk in store.stream_layer(2)] == [4, 2]
    assert store.layer(2)[:, 0].tolist() == [200, 201, 202, 203, 204, 205]
    assert [row.problem for row in store.iter_rows()] == [f"p/{r}" for r in range(6)]
    assert store.sequences()[0]["tokens"] == ["a"]
    assert store.settings == {"prm": "x"}


def test_a_layer_that_was_not_captured_is_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="known: 0, 2"):
        make_store(tmp_path / "acts").layer(1)


def test_an_altered_shard_is_named_by_its_checksum(tmp_path: Path) -> None:
    store = make_store(tmp_path / "acts")
    store.verify()
    write_shard(shard_file(store.folder, 1), {0: torch.zeros(2, WIDTH), 2: torch.zeros(2, WIDTH)})
    with pytest.raises(BadRecord, match=r"00001\.npz was altered"):
        store.verify()
    shard_file(store.folder, 1).unlink()
    with pytest.raises(MissingInput, match=r"00001\.npz is not there"):
        store.verify()


def test_rows_that_do_not_fit_the_manifest_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "acts")
    lines = (store.folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (store.folder / "rows.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(BadRecord, match=r"has 5 rows, its manifest says 6"):
        store.rows()


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no manifest"):
        ActStore(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "train-linreg", "extra": {}}))
    with pytest.raises(MissingInput, match="was made by train-linreg; name a save-acts folder"):
        ActStore(tmp_path)


def write_group(partial: PartialActs, group: int, index: int) -> Path:
    path = shard_file(partial.folder, index)
    write_shard(path, {0: torch.full((2, WIDTH), float(group))})
    partial.add(group, shards=[path], scores=[(0.25, 0.1), (0.75,)])
    return path


def test_finished_groups_and_their_scores_come_back_under_the_same_key(tmp_path: Path) -> None:
    first = PartialActs(tmp_path, "key", resume=True)
    paths = [write_group(first, 0, 0), write_group(first, 1, 1)]
    with first.path.open("a") as out:
        out.write('{"group": 2, "sha')  # killed while it wrote
    again = PartialActs(tmp_path, "key", resume=True)
    assert again.done == {0: [(0.25, 0.1), (0.75,)], 1: [(0.25, 0.1), (0.75,)]}
    assert all(path.is_file() for path in paths)
    write_group(again, 2, 2)
    assert sorted(PartialActs(tmp_path, "key", resume=True).done) == [0, 1, 2]


def test_a_group_whose_shard_is_gone_is_not_done(tmp_path: Path) -> None:
    first = PartialActs(tmp_path, "key", resume=True)
    write_group(first, 0, 0).unlink()
    write_group(first, 1, 1)
    assert sorted(PartialActs(tmp_path, "key", resume=True).done) == [1]


@pytest.mark.parametrize(("key", "resume"), [("other", True), ("key", False)])
def test_shards_of_another_key_or_before_force_are_removed(tmp_path: Path, key: str, resume: bool) -> None:
    first = PartialActs(tmp_path, "key", resume=True)
    path = write_group(first, 0, 0)
    torn = path.with_name(".00001.npz.77.tmp")
    torn.write_bytes(b"half")
    assert PartialActs(tmp_path, key, resume=resume).done == {}
    assert not path.exists() and not torn.exists()


def test_the_journal_goes_when_the_run_is_whole(tmp_path: Path) -> None:
    partial = PartialActs(tmp_path, "key", resume=True)
    write_group(partial, 0, 0)
    partial.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hiddens"]
