from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.sae.rows import load_rows
from rewardscope.sae.stream import ActStream, Split, held_batches, shard_rows, split_rows
from rewardscope.storage.shards import ActStore
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts


def numbered_store(folder: Path, *, first: int, problems: list[str], shard_rows: int = 7) -> ActStore:
    """Return a store of 10 rows a problem whose states say which row they are, at layers 0 and 1."""
    rows, sequences = make_rows([["a"] * 9 + [STEP_TAG]] * len(problems), problems=problems)
    number_N = torch.arange(first, first + len(rows), dtype=torch.float32)
    acts = {layer: torch.stack([number_N, number_N + 0.5 * layer], dim=1) for layer in (0, 1)}
    return ActStore(write_acts(folder, Acts(acts, rows, sequences), shard_rows=shard_rows))


@pytest.fixture
def stores(tmp_path: Path) -> list[ActStore]:
    return [
        numbered_store(tmp_path / "a", first=0, problems=[f"p/{i}" for i in range(6)]),
        numbered_store(tmp_path / "b", first=1000, problems=[f"p/{i}" for i in range(3, 9)]),
    ]


def split(stores: list[ActStore]) -> Split:
    return split_rows(stores, [load_rows(store, store.sequences()) for store in stores], share=0.3, seed=4)


def numbers(batch: dict[int, torch.Tensor]) -> list[int]:
    return batch[0][:, 0].int().tolist()


def test_no_problem_is_on_both_sides_in_any_store(stores: list[ActStore]) -> None:
    found = split(stores)
    assert len(found.problems) == 9
    assert len(found.held_out) == 3
    problems = {
        row: name
        for store, first in zip(stores, (0, 1000), strict=True)
        for row, name in enumerate((r.problem for r in store.rows()), first)
    }
    held = [n for x_ND, _ in held_batches(found.held, 0, device=torch.device("cpu")) for n in x_ND[:, 0].int().tolist()]
    trained = [
        n for batch in ActStream(found.train, (0,), batch=1000, buffer_bytes=2**20, seed=0).batches(120 - len(held)) for n in numbers(batch)
    ]
    assert {problems[n] for n in held} == set(found.held_out)
    assert {problems[n] for n in trained} == set(found.problems) - set(found.held_out)
    assert sorted(held + trained) == [*range(60), *range(1000, 1060)]


def test_held_rows_come_with_their_problems(stores: list[ActStore]) -> None:
    found = split(stores)
    for x_ND, problem_N in held_batches(found.held, 0, device=torch.device("cpu")):
        expected = [f"p/{n // 10}" if n < 1000 else f"p/{(n - 1000) // 10 + 3}" for n in x_ND[:, 0].int().tolist()]
        assert [found.problems[code] for code in problem_N] == expected


@pytest.mark.parametrize("buffer_bytes", [2**20, 2 * 4 * 2 * 20])
def test_each_pass_gives_every_row_once_at_every_layer(stores: list[ActStore], buffer_bytes: int) -> None:
    found = split(stores)
    stream = ActStream(found.train, (0, 1), batch=8, buffer_bytes=buffer_bytes, seed=0)
    batches = list(stream.batches(2 * stream.n_rows))
    assert [len(batch[0]) for batch in batches[:-1]] == [8] * (len(batches) - 1)
    seen = [n for batch in batches for n in numbers(batch)]
    assert all(torch.equal(batch[1][:, 1], batch[0][:, 0] + 0.5) for batch in batches)
    assert len(seen) == 2 * stream.n_rows
    if buffer_bytes == 2**20:  # one buffer: a pass ends where the batches of it end, its rest goes to the next
        assert set(np.bincount(np.array(seen) % 1000 + 60 * (np.array(seen) >= 1000))) <= {0, 1, 2, 3}
    assert len(set(seen)) == stream.n_rows
    assert seen[:20] != sorted(seen[:20])
    assert {n >= 1000 for n in seen[:24]} == {True, False}


def test_the_order_depends_on_the_seed_only(stores: list[ActStore]) -> None:
    found = split(stores)
    orders = [
        [n for b in ActStream(found.train, (0,), batch=8, buffer_bytes=100, seed=s).batches(40) for n in numbers(b)] for s in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_files_that_fit_the_buffer_are_read_once(stores: list[ActStore], monkeypatch: pytest.MonkeyPatch) -> None:
    found = split(stores)
    stream = ActStream(found.train, (0, 1), batch=8, buffer_bytes=2**20, seed=0)
    from rewardscope.sae import stream as module

    calls: list[Path] = []
    real = module.read_layer
    monkeypatch.setattr(module, "read_layer", lambda path, layer: calls.append(path) or real(path, layer))
    list(stream.batches(5 * stream.n_rows))
    assert len(calls) == 2 * len(found.train)


def test_a_single_problem_cannot_be_split(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "a", first=0, problems=["p/0"])
    with pytest.raises(ConfigError, match="1 problem; holding out needs at least 2"):
        split([store])


def test_a_store_whose_shards_lack_rows_is_named(stores: list[ActStore]) -> None:
    stores[0].shards.pop()
    with pytest.raises(BadRecord, match=r"a: its shards hold 56 rows, its manifest says 60"):
        split(stores)


def test_rows_are_counted_from_the_header(stores: list[ActStore]) -> None:
    assert [shard_rows(path) for path in stores[0].shards] == [7] * 8 + [4]
    stores[0].shards[0].write_bytes(b"no zip file")
    with pytest.raises(BadRecord, match="damaged"):
        shard_rows(stores[0].shards[0])


def test_a_row_without_a_sequence_is_named(tmp_path: Path) -> None:
    store = numbered_store(tmp_path / "a", first=0, problems=["p/0", "p/1"])
    with pytest.raises(BadRecord, match="no sequence for trace 0 of p/1"):
        load_rows(store, store.sequences()[:1])
