"""Captured states to shards: which traces go into which shard, and a writer beside the forward
pass.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rewardscope.capturing.batches import (
    KeptStates,
    StateSource,
    capture_batches,
    plan_batches,
    plan_groups,
)
from rewardscope.capturing.inputs import TraceInput
from rewardscope.log import progress
from rewardscope.storage.journal import Journal, Scores
from rewardscope.storage.shards import SHARD_ROWS, shard_file, write_shard
from rewardscope.storage.writer import BackgroundWriter

# Shape legend: N rows, D width.
_THREADS = {"cpu": 1, "cuda": 4}  # one thread writes about half a GB a second, checksums and all


class Group(NamedTuple):
    """Whole traces and the numbers of the shards that hold their rows. The unit of resume."""

    items: list[TraceInput]
    shards: range

    @property
    def n_rows(self) -> int:
        return sum(len(item.positions) for item in self.items)


def number_groups(items: Iterable[TraceInput]) -> list[Group]:
    """Put traces into groups, and number the shards through them.

    It depends on the traces alone, never on what is on disk.
    """
    groups: list[Group] = []
    for members in plan_groups(items, rows=SHARD_ROWS):
        first = groups[-1].shards.stop if groups else 0
        n_shards = -(-sum(len(item.positions) for item in members) // SHARD_ROWS)
        groups.append(Group(members, range(first, first + n_shards)))
    return groups


def save_groups(
    source: StateSource,
    groups: dict[int, Group],
    journal: Journal,
    *,
    layers: Sequence[int],
    dtype: torch.dtype,
    batch_tokens: int,
) -> None:
    """Capture groups, by number, into the journal's folder; each is recorded once its shards are on
    disk.
    """
    batches = (
        batch
        for group in groups.values()
        for batch in plan_batches(group.items, batch_tokens=batch_tokens)
    )
    captured = capture_batches(source, batches, layers, dtype=dtype)
    threads = _THREADS[source.model.device.type]
    with BackgroundWriter(threads=threads, pending=2 * threads) as writer:
        for number, group in progress(list(groups.items()), "capture", unit="group"):
            scores: list[Scores] = []
            chunks = recut(_chunks(captured, len(group.items), scores), rows=SHARD_ROWS)
            written = [
                writer.submit(partial(write_shard, shard_file(journal.folder, shard), pieces))
                for shard, pieces in zip(group.shards, chunks, strict=True)
            ]
            writer.then(partial(_record, journal, number, written, scores))


def _chunks(
    captured: Iterator[KeptStates], n_items: int, scores: list[Scores]
) -> Iterator[dict[int, Tensor]]:
    """Yield the states of the next `n_items` traces and put their scores into `scores`."""
    while len(scores) < n_items:
        done = next(captured)
        scores += done.scores
        yield done.acts


def recut(chunks: Iterable[dict[int, Tensor]], *, rows: int) -> Iterator[dict[int, list[Tensor]]]:
    """Cut states that come in chunks of any length into runs of `rows` rows, the last one shorter;
    nothing is copied.
    """
    held: list[dict[int, Tensor]] = []
    n_held = 0
    for chunk in chunks:
        length, start = len(next(iter(chunk.values()))), 0
        while start < length:
            end = min(length, start + rows - n_held)
            held.append({layer: acts_ND[start:end] for layer, acts_ND in chunk.items()})
            n_held, start = n_held + end - start, end
            if n_held == rows:
                yield _pieces(held)
                held, n_held = [], 0
    if held:
        yield _pieces(held)


def _pieces(held: list[dict[int, Tensor]]) -> dict[int, list[Tensor]]:
    return {layer: [chunk[layer] for chunk in held] for layer in held[0]}


def _record(journal: Journal, number: int, written: Sequence, scores: Sequence[Scores]) -> None:
    journal.add(number, shards=[future.result() for future in written], scores=scores)
