"""Rows and sequences of a save-acts folder, written each from a list of its own."""

from collections.abc import Iterable
from pathlib import Path

from rewardscope.records import ActRow
from rewardscope.storage.shards import write_traces


def write_act_rows(
    folder: Path, rows: Iterable[ActRow], sequences: Iterable[dict]
) -> tuple[Path, Path]:
    """Write `rows.jsonl` and `sequences.jsonl`; return their paths."""
    return write_traces(folder, [(rows, None), *(((), sequence) for sequence in sequences)])
