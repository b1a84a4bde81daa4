"""Activation shards: what is written is what is read, and damage is named."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from rewardscope.errors import BadRecord, MissingInput, UnknownName
from rewardscope.storage.acts import ActStore
from rewardscope.storage.sequences import ActSequence
from rewardscope.storage.shards import read_layer, shard_file, write_shard
from tests.act_files import ActRow, read_act_rows, write_act_rows

WIDTH = 3


def make_store(
    folder: Path, *, sizes: tuple[int, ...] = (4, 2), layers: tuple[int, ...] = (0, 2)
) -> ActStore:
    """Write a whole save-acts folder by hand; the state of row r in layer l is [100 l + r, 0,
    0].
    """
    marks, row = [], 0
    for index, size in enumerate(sizes):
        first = torch.arange(row, row + size, dtype=torch.float32)
        acts = {
            layer: [torch.stack([first + 100 * layer, torch.zeros(size), torch.zeros(size)], dim=1)]
            for layer in layers
        }
        marks.append(write_shard(shard_file(folder, index), acts))
        row += size
    rows = [
        ActRow(
            problem=f"p/{r}",
            trace=0,
            step=0,
            token=r,
            token_id=r,
            is_step_end=True,
            reward=0.5,
            correct=None,
        )
        for r in range(row)
    ]
    write_act_rows(
        folder, rows, [ActSequence(problem="p/0", trace=0, tokens=("a",), step_ends=(0,))]
    )
    manifest = {
        "stage": "save-acts",
        "settings": {"prm": "x"},
        "rows": row,
        "extra": {
            "layers": list(layers),
            "width": WIDTH,
            "shards": {mark.name: [mark.bytes, mark.members] for mark in marks},
        },
        "outputs": {mark.name: mark.sha256 for mark in marks},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return ActStore(folder)


def test_every_bfloat16_bit_pattern_survives_a_round_trip(tmp_path: Path) -> None:
    bits = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(1024, 64)
    write_shard(tmp_path / "s.npz", {7: [bits.view(torch.bfloat16)]})
    read = read_layer(tmp_path / "s.npz", 7)
    # A bfloat16 is the upper half of a float32, so the expected value is made from the bits by
    # numpy alone.
    expected = (np.arange(65536, dtype=np.uint32) << 16).view(np.float32).reshape(1024, 64)
    assert read.dtype == torch.float32
    np.testing.assert_array_equal(read.numpy(), expected)  # NaN patterns count as equal


def test_float32_in_pieces_survives_a_round_trip_and_members_are_named_by_layer(
    tmp_path: Path,
) -> None:
    acts = {
        layer: torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(layer))
        for layer in (11, 0)
    }
    write_shard(
        tmp_path / "s.npz", {layer: [acts_ND[:2], acts_ND[2:]] for layer, acts_ND in acts.items()}
    )
    with np.load(tmp_path / "s.npz") as shard:
        assert shard.files == ["layer_00", "layer_11"] and shard["layer_11"].dtype == np.float32
        np.testing.assert_array_equal(shard["layer_11"], acts[11].numpy())
    assert all(torch.equal(read_layer(tmp_path / "s.npz", layer), acts[layer]) for layer in acts)


def test_a_slice_of_a_larger_tensor_is_stored_alone(tmp_path: Path) -> None:
    wide = torch.randn(8, 2 * WIDTH, dtype=torch.bfloat16)
    write_shard(tmp_path / "s.npz", {0: [wide[::2, WIDTH:]]})
    assert torch.equal(read_layer(tmp_path / "s.npz", 0), wide[::2, WIDTH:].float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_type_that_would_lose_range_or_waste_space_is_a_broken_invariant(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    with pytest.raises(AssertionError):
        write_shard(tmp_path / "s.npz", {0: [torch.zeros(1, 1, dtype=dtype)]})


def test_any_changed_byte_is_named_or_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    acts = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    write_shard(path, {0: [acts]})
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
    write_shard(path, {0: [torch.ones(4, WIDTH)]})
    for size in (0, 10, path.stat().st_size - 1):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(BadRecord, match=r"s\.npz is damaged .* re-run invoke save-acts"):
            read_layer(path, 0)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [0, 5])
def test_a_shard_that_numpy_wrote_is_read(
    tmp_path: Path, save: Callable[..., None], order: Literal["C", "F"], rows: int
) -> None:
    acts = np.arange(rows * WIDTH, dtype=np.float32).reshape(rows, WIDTH)
    save(tmp_path / "s.npz", layer_01=acts + 100, layer_04=np.asarray(acts, order=order))
    np.testing.assert_array_equal(read_layer(tmp_path / "s.npz", 4).numpy(), acts)


def test_a_missing_shard_and_a_missing_layer_are_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "s.npz", {0: [torch.ones(4, WIDTH)]})
    with pytest.raises(BadRecord, match=r"s\.npz has no layer 3"):
        read_layer(tmp_path / "s.npz", 3)
    with pytest.raises(MissingInput, match=r"t\.npz is not there"):
        read_layer(tmp_path / "t.npz", 0)


def test_a_store_gives_the_rows_of_a_layer_in_shard_order(tmp_path: Path) -> None:
    store = make_store(tmp_path / "acts")
    assert [len(chunk) for chunk in store.stream_layer(2)] == [4, 2]
    assert store.layer(2)[:, 0].tolist() == [200, 201, 202, 203, 204, 205]
    assert [row.problem for row in read_act_rows(store)] == [f"p/{r}" for r in range(6)]
    assert next(iter(store.sequences)).tokens == ("a",)
    assert store.manifest.settings == {"prm": "x"}


def test_a_layer_that_was_not_captured_is_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="known: 0, 2"):
        make_store(tmp_path / "acts").layer(1)


def test_an_altered_shard_is_named_by_its_checksum(tmp_path: Path) -> None:
    store = make_store(tmp_path / "acts")
    store.verify()
    write_shard(
        shard_file(store.folder, 1), {0: [torch.zeros(2, WIDTH)], 2: [torch.zeros(2, WIDTH)]}
    )
    with pytest.raises(BadRecord, match=r"00001\.npz was altered"):
        store.verify()
    shard_file(store.folder, 1).unlink()
    with pytest.raises(MissingInput, match=r"00001\.npz is not there"):
        store.verify()


def test_a_store_with_a_shard_that_is_not_what_was_written_does_not_open(tmp_path: Path) -> None:
    store = make_store(tmp_path / "acts")
    path = shard_file(store.folder, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        BadRecord,
        match=rf"00001\.npz is damaged \({len(whole) - 1} bytes, {len(whole)} were written\)",
    ):
        ActStore(store.folder)
    path.write_bytes(whole.replace(b"PK\5\6", b"PK\5\7"))  # what ends a zip file
    with pytest.raises(
        BadRecord, match=r"00001\.npz is damaged \(its members are not those that were written\)"
    ):
        ActStore(store.folder)
    # sound in itself, and of the same length
    write_shard(path, {0: [torch.ones(2, WIDTH)], 2: [torch.ones(2, WIDTH)]})
    assert path.stat().st_size == len(whole)
    with pytest.raises(BadRecord, match=r"00001\.npz is damaged"):
        ActStore(store.folder)
    path.unlink()
    with pytest.raises(MissingInput, match=r"00001\.npz is not there"):
        ActStore(store.folder)


def test_a_flipped_byte_of_the_states_is_found_as_they_are_read(tmp_path: Path) -> None:
    store = make_store(tmp_path / "acts")
    path = shard_file(store.folder, 0)
    whole = path.read_bytes()
    at = whole.index(torch.tensor([203.0]).numpy().tobytes())  # a state of layer 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    again = ActStore(store.folder)
    assert len(again.layer(0)) == 6  # the other layer is sound
    with pytest.raises(BadRecord, match=r"00000\.npz is damaged .*CRC"):
        again.layer(2)


def test_a_mark_is_that_of_the_file(tmp_path: Path) -> None:
    mark = write_shard(shard_file(tmp_path, 3), {0: [torch.ones(2, WIDTH)]})
    path = tmp_path / mark.name
    assert (
        mark.name == "hiddens/00003.npz"
        and mark.bytes == len(path.read_bytes())
        and mark.mtime_ns == path.stat().st_mtime_ns
    )
    assert (
        mark.sha256
        == subprocess.run(
            ["sha256sum", path], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no manifest"):
        ActStore(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "train-linreg", "extra": {}}))
    with pytest.raises(MissingInput, match="was made by train-linreg; name a save-acts folder"):
        ActStore(tmp_path)
