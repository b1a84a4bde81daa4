"""The journal of a `save-acts` folder: which shards are whole, so that nothing is computed twice.
Needs no torch.

A group is some traces whose shards are on disk; its line holds their shards and scores and is
written after them. The journal stays beside the finished shards: where one of them is lost or
altered, only its group is computed again.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rewardscope.errors import BadRecord
from rewardscope.storage.files import link_file, sha256, write_text

HIDDENS = "hiddens"
NAME = ".groups.jsonl"
Scores = tuple[float, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMark:
    """What a shard was when it was written.

    `members` is a hash of its members' names, sizes and checksums.
    """

    name: str  # within the folder
    bytes: int
    mtime_ns: int
    sha256: str
    members: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """One line: a group's number, its shards, and the scores of each of its traces."""

    group: int
    shards: tuple[ShardMark, ...]
    scores: tuple[Scores, ...]


class Journal:
    """The groups of a folder that are whole on disk, by number.

    The first line of the file is the key of the run: with another key, or without `resume`, all
    shards are removed, never mixed.
    """

    def __init__(self, folder: Path, key: str, *, resume: bool) -> None:
        self.folder, self._key, self._path = folder, key, folder / NAME
        old_key, lines = _read(self._path)
        same = resume and old_key == key
        self.done = {
            line.group: line
            for line in lines
            if same and not any(wrong_with(folder, mark) for mark in line.shards)
        }
        whole = {mark.name for line in self.done.values() for mark in line.shards}
        hiddens = folder / HIDDENS
        # of another key, or of a group that is not whole
        for path in (*hiddens.glob("*.npz"), *hiddens.glob(".*.tmp")):
            if str(path.relative_to(folder)) not in whole:
                path.unlink()
        self._write()

    def add(self, group: int, *, shards: Sequence[ShardMark], scores: Sequence[Scores]) -> None:
        """Record that the shards of a group are on disk, with the scores of each of its traces."""
        self.done[group] = GroupLine(group=group, shards=tuple(shards), scores=tuple(scores))
        with self._path.open("a", encoding="utf-8") as out:
            out.write(_text(self.done[group]))

    def adopt(self, others: Iterable["Journal"]) -> None:
        """Take over the groups of other folders: their lines first, then their shards, which are
        moved. A killed call can be repeated.
        """
        others = list(others)
        for other in others:
            self.done |= other.done
        self._write()
        for other in others:
            for mark in (mark for line in other.done.values() for mark in line.shards):
                (self.folder / mark.name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(other.folder / mark.name, self.folder / mark.name)

    def link(self, folder: Path) -> None:
        """Take over the whole groups of a folder of the same key, whose files stay where they
        are.
        """
        old_key, lines = _read(folder / NAME)
        for line in lines if old_key == self._key else ():
            if line.group in self.done or any(wrong_with(folder, mark) for mark in line.shards):
                continue
            for mark in line.shards:
                link_file(folder / mark.name, self.folder / mark.name)
            self.done[line.group] = line
        self._write()

    def marks(self) -> list[ShardMark]:
        """Return the marks of all shards, in order."""
        return [mark for _, line in sorted(self.done.items()) for mark in line.shards]

    def _write(self) -> None:
        lines = [_text(line) for _, line in sorted(self.done.items())]
        write_text(self._path, "".join([f"{self._key}\n", *lines]))


def find_damaged(folder: Path) -> list[str]:
    """Return what is wrong with each shard of a folder that is not what was written."""
    found = []
    for line in _read(folder / NAME)[1]:
        for mark in line.shards:
            wrong = wrong_with(folder, mark)
            if wrong:
                found.append(f"{folder / mark.name} {wrong}")
    return found


def wrong_with(folder: Path, mark: ShardMark) -> str:
    """Say what is wrong with a shard, or "".

    It is read only where its time of change is not the one of its mark.
    """
    try:
        state = (folder / mark.name).stat()
    except FileNotFoundError:
        return "is not there"
    if state.st_size != mark.bytes:
        return f"has {state.st_size} bytes, {mark.bytes} were written"
    if state.st_mtime_ns != mark.mtime_ns and sha256(folder / mark.name) != mark.sha256:
        return "was altered after it was written"
    return ""


def _text(line: GroupLine) -> str:
    return json.dumps(asdict(line), allow_nan=False) + "\n"


def _read(path: Path) -> tuple[str, list[GroupLine]]:
    """Return the key and the lines of a journal; a torn last line is dropped. Raises: BadRecord."""
    if not path.is_file():
        return "", []
    key, *lines = path.read_text(encoding="utf-8").split("\n")
    try:
        return key, [_line(json.loads(line)) for line in lines[:-1]]
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecord(
            f"{path} is torn ({error}); delete it, and the shards are made again"
        ) from None


def _line(row: dict) -> GroupLine:
    shards = tuple(ShardMark(**mark) for mark in row["shards"])
    return GroupLine(
        group=row["group"],
        shards=shards,
        scores=tuple(None if one is None else tuple(one) for one in row["scores"]),
    )
