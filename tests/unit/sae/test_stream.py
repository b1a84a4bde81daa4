from pathlib import Path

import pytest
import torch

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.sae.train.stream import (
    ActStream,
    Shard,
    ShardSource,
    Split,
    read_ahead,
    shard_rows,
    split_rows,
)
from rewardscope.storage.acts import ActStore
from tests.act_files import read_act_rows
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts


def numbered_store(
    folder: Path, *, first: int, problems: list[str], shard_rows: int = 7
) -> ActStore:
    """Return a store of 10 rows a problem whose states say which row they are, at layers 0 and
    1.
    """
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
    return split_rows(stores, share=0.3, seed=4)


def numbers(batch: dict[int, torch.Tensor]) -> list[int]:
    return batch[0][:, 0].int().tolist()


def stream_of(
    shards: list[Shard],
    layers: tuple[int, ...] = (0, 1),
    *,
    batch: int = 8,
    buffer_bytes: int = 2**20,
    seed: int = 0,
) -> ActStream:
    return ActStream(
        ShardSource(shards, layers),
        batch=batch,
        buffer_bytes=buffer_bytes,
        seed=seed,
        device=torch.device("cpu"),
    )


def test_no_problem_is_on_both_sides_in_any_store(stores: list[ActStore]) -> None:
    found = split(stores)
    assert len(found.problems) == 9
    # sha256("4:p/0"), ("4:p/2") ... begin below 0.3 of their range, those of the others above
    assert found.held_out == {"p/0", "p/2", "p/3", "p/4"}
    problems = {
        row: name
        for store, first in zip(stores, (0, 1000), strict=True)
        for row, name in enumerate((r.problem for r in read_act_rows(store)), first)
    }
    held = [n for acts, _ in ShardSource(found.held, (0,)).held() for n in numbers(acts)]
    trained = [
        n
        for batch in stream_of(found.train, (0,), batch=1000).batches(0, 120 - len(held))
        for n in numbers(batch)
    ]
    assert {problems[n] for n in held} == set(found.held_out)
    assert {problems[n] for n in trained} == set(found.problems) - set(found.held_out)
    assert sorted(held + trained) == [*range(60), *range(1000, 1060)]


def test_held_rows_come_with_their_problems(stores: list[ActStore]) -> None:
    found = split(stores)
    for acts, problem_N in ShardSource(found.held, (0, 1)).held():
        expected = [
            f"p/{n // 10}" if n < 1000 else f"p/{(n - 1000) // 10 + 3}" for n in numbers(acts)
        ]
        assert [found.problems[code] for code in problem_N] == expected


SMALL = 2 * 4 * 2 * 20  # bytes of 20 rows at two layers: pools of ten rows, or of one shard


@pytest.mark.parametrize("buffer_bytes", [2**20, SMALL])
def test_each_pass_gives_every_row_once_at_every_layer(
    stores: list[ActStore], buffer_bytes: int
) -> None:
    stream = stream_of(split(stores).train, buffer_bytes=buffer_bytes)
    n_rows = stream.n_rows
    batches = list(stream.batches(0, 3 * n_rows))
    assert [len(batch[0]) for batch in batches[:-1]] == [8] * (len(batches) - 1)
    assert all(torch.equal(batch[1][:, 1], batch[0][:, 0] + 0.5) for batch in batches)
    seen = [n for batch in batches for n in numbers(batch)]
    passes = [seen[start : start + n_rows] for start in range(0, 3 * n_rows, n_rows)]
    assert [len(set(one)) for one in passes] == [n_rows] * 3
    assert passes[0] != passes[1] and passes[0] != sorted(passes[0])


def test_rows_of_both_stores_mix_in_a_buffer_and_a_small_one_holds_few_units_at_a_time(
    stores: list[ActStore],
) -> None:
    shards = split(stores).train
    whole, small = (
        [n for batch in stream_of(shards, buffer_bytes=size).batches(0, 24) for n in numbers(batch)]
        for size in (2**20, SMALL)
    )
    assert {n >= 1000 for n in whole} == {True, False}
    assert len({n // 7 for n in small}) < len({n // 7 for n in whole})


@pytest.mark.parametrize("buffer_bytes", [2**20, SMALL])
@pytest.mark.parametrize("first", [8, 40, 80, 200])
def test_a_stream_goes_on_in_the_middle_as_it_would_have(
    stores: list[ActStore], buffer_bytes: int, first: int
) -> None:
    shards = split(stores).train
    whole = [
        numbers(batch) for batch in stream_of(shards, buffer_bytes=buffer_bytes).batches(0, 250)
    ]
    rest = [
        numbers(batch) for batch in stream_of(shards, buffer_bytes=buffer_bytes).batches(first, 250)
    ]
    assert whole[first // 8 :] == rest


def test_the_order_depends_on_the_seed_only(stores: list[ActStore]) -> None:
    shards = split(stores).train
    orders = [
        [
            n
            for b in stream_of(shards, (0,), buffer_bytes=100, seed=s).batches(0, 40)
            for n in numbers(b)
        ]
        for s in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_a_sample_holds_distinct_rows_of_every_layer(stores: list[ActStore]) -> None:
    stream = stream_of(split(stores).train)
    sample = stream.sample(20)
    assert len(set(numbers(sample))) == 20
    assert torch.equal(sample[1][:, 1], sample[0][:, 0] + 0.5)
    assert len(stream.sample(10_000)[0]) == stream.n_rows


def test_files_that_fit_the_buffer_are_read_once(
    stores: list[ActStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = split(stores)
    stream = stream_of(found.train)
    from rewardscope.sae.train import stream as module

    calls: list[Path] = []
    real = module.read_layer
    monkeypatch.setattr(
        module, "read_layer", lambda path, layer: calls.append(path) or real(path, layer)
    )
    list(stream.batches(0, 5 * stream.n_rows))
    assert len(calls) == 2 * len(found.train)


def test_reading_ahead_keeps_the_order_is_one_ahead_and_passes_errors_on() -> None:
    read: list[int] = []

    def items():
        for number in range(5):
            read.append(number)
            yield number
        raise BadRecord("torn")

    ahead = read_ahead(items())
    for number in range(5):
        assert next(ahead) == number
        assert len(read) <= number + 2
    with pytest.raises(BadRecord, match="torn"):
        next(ahead)


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


def test_problems_are_read_whatever_their_names_are(tmp_path: Path) -> None:
    names = ['a", "trace": 1, "b', 'p", "trace": ', "é\n\\", "\\", "{}"]
    store = numbered_store(tmp_path / "a", first=0, problems=names)
    found = [store.problems[code] for code in store.rows.problem_N]
    assert found == [name for name in names for _ in range(10)]


def test_rows_that_were_altered_are_named(stores: list[ActStore]) -> None:
    (stores[1].folder / "rows.parquet").write_bytes(
        (stores[0].folder / "rows.parquet").read_bytes()
    )
    with pytest.raises(BadRecord, match=r"b/rows\.parquet was altered after it was written"):
        split(stores)
