"""Training rows, mixed: each batch holds the same rows at every layer, and is read once.

Units (shards, or traces that a model runs over) are drawn in random order into a buffer and its
rows are shuffled, so memory is bounded by the buffer. The order is an endless sequence that the
seed and the position alone decide: nothing has to be remembered to go on in the middle. A thread
reads the next buffer while this one is used.
"""

import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from rewardscope import splits
from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.storage.acts import ActStore
from rewardscope.storage.shards import read_layer

# Shape legend: B batch, N rows, D width.
LayerBatch = dict[int, Tensor]
T = TypeVar("T")


class Shard(NamedTuple):
    """A shard of a store and which of its rows belong to a split, with the problem of each row."""

    path: Path
    rows_N: Tensor  # int64, positions within the shard
    problem_N: np.ndarray  # problem codes of those rows


class Split(NamedTuple):
    """Shards to train on and shards to measure on, with no problem on both sides."""

    train: list[Shard]
    held: list[Shard]
    problems: tuple[str, ...]  # all problems; a problem code is a position here
    held_out: frozenset[str]


def split_rows(stores: Sequence[ActStore], *, share: float, seed: int) -> Split:
    """Hold out about `share` of the problems of all stores together, at least one.

    Raises: ConfigError with fewer than two problems; MissingInput, BadRecord.
    """
    for store in stores:
        store.verify_rows()
    problems, is_held_P = hold_out(
        {problem for store in stores for problem in store.problems},
        share=share,
        seed=seed,
        where=", ".join(str(store.folder) for store in stores),
    )
    codes = {name: code for code, name in enumerate(problems)}
    train, held = [], []
    for store in stores:
        problem_N = np.array([codes[name] for name in store.problems])[store.rows.problem_N]
        train += find_shards(store, problem_N, ~is_held_P[problem_N])
        held += find_shards(store, problem_N, is_held_P[problem_N])
    return Split(
        train, held, problems, frozenset(problems[code] for code in np.flatnonzero(is_held_P))
    )


def hold_out(
    names: set[str], *, share: float, seed: int, where: str
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return all problems in order, and a mask of those held out: about `share` of them, at least
    one and never all.

    Raises: ConfigError that names `where` with fewer than two problems.
    """
    problems = tuple(sorted(names))
    if len(problems) < 2:
        raise ConfigError(f"{where}: {len(problems)} problem; holding out needs at least 2")
    held = splits.hold_out(problems, share=share, seed=seed)
    return problems, np.array([name in held for name in problems])


def find_shards(store: ActStore, problem_N: np.ndarray, chosen_N: np.ndarray) -> list[Shard]:
    """List the shards that hold rows of `chosen_N` (a mask over the store's rows), with those
    rows.
    """
    assert len(problem_N) == len(chosen_N) == store.n_rows, (
        store.folder,
        len(problem_N),
        store.n_rows,
    )
    found, start = [], 0
    for path in store.shards:
        end = start + shard_rows(path)
        rows = np.flatnonzero(chosen_N[start:end])
        if len(rows):
            found.append(Shard(path, torch.from_numpy(rows), problem_N[start:end][rows]))
        start = end
    if start != store.n_rows:
        raise BadRecord(
            f"{store.folder}: its shards hold {start} rows, its manifest says {store.n_rows};"
            " re-run invoke save-acts"
        )
    return found


def shard_rows(path: Path) -> int:
    """Return how many rows a shard holds, from its header only. Raises: MissingInput, BadRecord."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
            version = np.lib.format.read_magic(member)
            assert version == (1, 0), (path, version)
            shape, _, _ = np.lib.format.read_array_header_1_0(member)
            return shape[0]
    except FileNotFoundError:
        raise MissingInput(f"{path} is not there; re-run invoke save-acts") from None
    except zipfile.BadZipFile as error:
        raise BadRecord(
            f"{path} is damaged ({error}); delete it and re-run invoke save-acts"
        ) from None


class RowSource(Protocol):
    """Where rows come from: units that are read together."""

    width: int

    @property
    def sizes(self) -> Sequence[int]:
        """Rows of each unit."""
        ...

    @property
    def layers(self) -> Sequence[int]: ...

    def read(self, units: Sequence[int]) -> LayerBatch:
        """Return all rows of some units, each layer [N, D], in an order that depends on `units`
        alone.
        """
        ...


class ShardSource:
    """Rows of shards; a unit is a shard."""

    def __init__(self, shards: Sequence[Shard], layers: Sequence[int]) -> None:
        assert shards, "no shards"
        self._shards, self.layers = list(shards), tuple(layers)
        self.sizes = [len(shard.rows_N) for shard in shards]
        self.width = read_layer(shards[0].path, self.layers[0]).shape[1]

    def read(self, units: Sequence[int]) -> LayerBatch:
        shards = [self._shards[unit] for unit in units]
        return {
            layer: torch.cat([read_layer(s.path, layer)[s.rows_N] for s in shards])
            for layer in self.layers
        }

    def held(self) -> Iterator[tuple[LayerBatch, np.ndarray]]:
        """Yield the rows of each shard at every layer, with the problem code of each row."""
        for unit, shard in enumerate(self._shards):
            yield self.read([unit]), shard.problem_N


class _Pool(NamedTuple):
    """Rows that are shuffled together."""

    acts: LayerBatch
    order_N: Tensor


class ActStream:
    """An endless shuffled sequence of the rows of a source, on `device`.

    `n_rows` is the count of rows in one pass. `buffer_bytes` bounds what is held in memory (at
    least two units): rows are shuffled within half of it, while a thread fills the other half.
    Where everything fits, it is read once for all passes.
    """

    def __init__(
        self, source: RowSource, *, batch: int, buffer_bytes: int, seed: int, device: torch.device
    ) -> None:
        assert batch > 0, batch
        self._source, self._seed, self._device = source, seed, device
        self.n_rows = sum(source.sizes)
        self.batch = min(batch, self.n_rows)
        self._buffer_rows = buffer_bytes // (4 * source.width * len(source.layers))
        self._whole: LayerBatch | None = None

    def sample(self, n: int) -> LayerBatch:
        """Return at most `n` random rows, each layer [N, D], of as few units as have them."""
        random = self._random(-1, 0)
        order = torch.randperm(len(self._source.sizes), generator=random).tolist()
        filled = np.cumsum([self._source.sizes[unit] for unit in order])
        read = self._read(order[: int(np.searchsorted(filled, n)) + 1])
        chosen = torch.randperm(_length(read), generator=random)[:n].to(self._device)
        return {layer: acts_ND.index_select(0, chosen) for layer, acts_ND in read.items()}

    def batches(self, first: int, last: int) -> Iterator[LayerBatch]:
        """Yield the rows from number `first` of the sequence up to `last`, in batches [B, D]; the
        final one may be shorter.
        """
        parts: list[LayerBatch] = []
        done, filled = first, 0
        for pool in self._pools(first, last):
            at = 0
            while at < len(pool.order_N) and done < last:
                wanted = min(self.batch, last - done)
                chosen = pool.order_N[at : at + wanted - filled].to(self._device)
                parts.append(
                    {layer: acts_ND.index_select(0, chosen) for layer, acts_ND in pool.acts.items()}
                )
                at, filled = at + len(chosen), filled + len(chosen)
                if filled == wanted:
                    yield (
                        parts[0]
                        if len(parts) == 1
                        else {layer: torch.cat([p[layer] for p in parts]) for layer in parts[0]}
                    )
                    done, filled, parts = done + filled, 0, []

    def _pools(self, first: int, last: int) -> Iterator[_Pool]:
        """Yield the pools that hold rows `first` to `last`, the first one without the rows
        before.
        """
        if self.n_rows <= self._buffer_rows:
            if self._whole is None:
                self._whole = self._read(range(len(self._source.sizes)))
            whole = self._whole
            return (_Pool(whole, order_N) for _, order_N in self._plan(first, last))
        return read_ahead(
            _Pool(self._read(units), order_N) for units, order_N in self._plan(first, last)
        )

    def _plan(self, first: int, last: int) -> Iterator[tuple[list[int], Tensor]]:
        """Yield the units of each pool and the order of its rows."""
        start, number = first - first % self.n_rows, first // self.n_rows
        while start < last:
            for index, units in enumerate(self._groups(number)):
                size = sum(self._source.sizes[unit] for unit in units)
                if first < start + size and start < last:
                    order_N = torch.randperm(size, generator=self._random(number, index + 1))
                    yield units, order_N[max(0, first - start) :]
                start += size
            number += 1

    def _groups(self, number: int) -> list[list[int]]:
        """Return the units of each pool of one pass."""
        groups, filled, most = (
            [[]],
            0,
            self._buffer_rows if self.n_rows <= self._buffer_rows else self._buffer_rows // 2,
        )
        for unit in torch.randperm(
            len(self._source.sizes), generator=self._random(number, 0)
        ).tolist():
            if groups[-1] and filled + self._source.sizes[unit] > most:
                groups.append([])
                filled = 0
            groups[-1].append(unit)
            filled += self._source.sizes[unit]
        return groups

    def _random(self, number: int, index: int) -> torch.Generator:
        seed = int(
            np.random.SeedSequence((self._seed, number + 1, index)).generate_state(1, np.uint64)[0]
        )
        return torch.Generator().manual_seed(seed >> 1)

    def _read(self, units: Sequence[int]) -> LayerBatch:
        return {
            layer: acts_ND.to(self._device) for layer, acts_ND in self._source.read(units).items()
        }


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items, of which a thread prepares the next while one is used."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _length(pool: LayerBatch) -> int:
    return len(next(iter(pool.values())))
