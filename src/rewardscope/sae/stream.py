"""Training rows of several save-acts folders, mixed: each batch holds the same rows at every layer, and is read once.

Shards are drawn in random order into a buffer and its rows are shuffled, so memory is bounded by the buffer.
"""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.sae.rows import RowTable
from rewardscope.storage.shards import ActStore, read_layer

# Shape legend: B batch, N rows, D width.
LayerBatch = dict[int, Tensor]


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


def split_rows(stores: Sequence[ActStore], tables: Sequence[RowTable], *, share: float, seed: int) -> Split:
    """Hold out `share` of the problems of all stores together, at least one. Raises: ConfigError with fewer than two problems."""
    problems = tuple(sorted({name for table in tables for name in table.problems}))
    if len(problems) < 2:
        raise ConfigError(f"{', '.join(str(store.folder) for store in stores)}: {len(problems)} problem; holding out needs at least 2")
    n_held = min(max(1, round(share * len(problems))), len(problems) - 1)
    chosen = np.random.default_rng(seed).permutation(len(problems))[:n_held]
    is_held_P = np.zeros(len(problems), dtype=bool)
    is_held_P[chosen] = True
    codes = {name: code for code, name in enumerate(problems)}
    train, held = [], []
    for store, table in zip(stores, tables, strict=True):
        problem_N = np.array([codes[name] for name in table.problems])[table.problem_N]
        train += find_shards(store, problem_N, ~is_held_P[problem_N])
        held += find_shards(store, problem_N, is_held_P[problem_N])
    return Split(train, held, problems, frozenset(problems[code] for code in chosen))


def find_shards(store: ActStore, problem_N: np.ndarray, chosen_N: np.ndarray) -> list[Shard]:
    """List the shards that hold rows of `chosen_N` (a mask over the store's rows), with those rows."""
    found, start = [], 0
    for path in store.shards:
        end = start + shard_rows(path)
        rows = np.flatnonzero(chosen_N[start:end])
        if len(rows):
            found.append(Shard(path, torch.from_numpy(rows), problem_N[start:end][rows]))
        start = end
    if start != store.n_rows:
        raise BadRecord(f"{store.folder}: its shards hold {start} rows, its manifest says {store.n_rows}; re-run invoke save-acts")
    return found


def held_batches(shards: Sequence[Shard], layer: int, *, device: torch.device) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield the chosen rows [N, D] of one layer with the problem code of each, a shard at a time."""
    for shard in shards:
        yield read_layer(shard.path, layer)[shard.rows_N].to(device), shard.problem_N


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
        raise BadRecord(f"{path} is damaged ({error}); delete it and re-run invoke save-acts") from None


class ActStream:
    """Endless shuffled batches from shards.

    `n_rows` is the count of rows in one pass; `buffer_bytes` bounds what is held in memory (at least one shard).
    Where everything fits the buffer, files are read once for all passes.
    """

    def __init__(self, shards: Sequence[Shard], layers: Sequence[int], *, batch: int, buffer_bytes: int, seed: int) -> None:
        assert shards and batch > 0, (len(shards), batch)
        self._shards, self._layers = list(shards), tuple(layers)
        self.n_rows = sum(len(shard.rows_N) for shard in shards)
        self.batch = min(batch, self.n_rows)
        width = read_layer(shards[0].path, self._layers[0]).shape[1]
        self._buffer_rows = buffer_bytes // (4 * width * len(self._layers))
        self._random = torch.Generator().manual_seed(seed)
        self._whole: LayerBatch | None = None

    def sample(self, n: int) -> LayerBatch:
        """Return at most `n` random rows of one buffer, each layer [N, D]."""
        pool = next(self._pools())
        chosen = torch.randperm(_length(pool), generator=self._random)[:n]
        return {layer: acts_ND[chosen] for layer, acts_ND in pool.items()}

    def batches(self, n_rows: int) -> Iterator[LayerBatch]:
        """Yield batches of the same rows at every layer, each [B, D], until `n_rows` were given; the last may be shorter."""
        left, rest = n_rows, None
        for pool in self._pools():
            if rest is not None:
                pool = {layer: torch.cat([rest[layer], acts_ND]) for layer, acts_ND in pool.items()}
            order = torch.randperm(_length(pool), generator=self._random)
            n_full = len(order) // self.batch
            for chosen in order[: n_full * self.batch].split(self.batch):
                yield {layer: acts_ND[chosen[:left]] for layer, acts_ND in pool.items()}
                left -= min(left, self.batch)
                if not left:
                    return
            rest = {layer: acts_ND[order[n_full * self.batch :]] for layer, acts_ND in pool.items()}

    def _pools(self) -> Iterator[LayerBatch]:
        """Yield buffers without end, every row once a pass."""
        while True:
            if self._whole is not None:
                yield self._whole
                continue
            group, held = [], 0
            for position in torch.randperm(len(self._shards), generator=self._random).tolist():
                group.append(self._shards[position])
                held += len(group[-1].rows_N)
                if held >= self._buffer_rows:
                    yield self._read(group)
                    group, held = [], 0
            if held == self.n_rows:
                self._whole = self._read(group)
            elif group:
                yield self._read(group)

    def _read(self, shards: Sequence[Shard]) -> LayerBatch:
        return {layer: torch.cat([read_layer(s.path, layer)[s.rows_N] for s in shards]) for layer in self._layers}


def _length(pool: LayerBatch) -> int:
    return len(next(iter(pool.values())))
