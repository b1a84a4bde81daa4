"""Generations files: one SolvedProblem a line, in problem order."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.records import SolvedProblem
from rewardscope.storage.files import replacing
from rewardscope.storage.json_rows import parse_object
from rewardscope.storage.text import open_text, says_encoding, without_mark
from rewardscope.storage.typed import decode

_SOLVED = msgspec.json.Decoder(SolvedProblem)


def read_rows(path: Path) -> Iterator[dict]:
    """Yield the JSON objects of a file. Raises: MissingInput; BadRecord with the line's number."""
    return (row for _, row in numbered_rows(path))


def numbered_rows(path: Path) -> Iterator[tuple[int, dict]]:
    """Yield the JSON objects of a file with the numbers of their lines, from 1.

    Raises: MissingInput; BadRecord with the line's number.
    """
    if not path.is_file():
        raise MissingInput(f"{path} is not there")
    with open_text(path) as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line:
                continue
            try:
                row = parse_object(line)
            except BadRecord as error:
                raise BadRecord(f"{path} line {number}: {error}") from None
            yield number, row


def write_rows(path: Path, rows: Iterable[dict]) -> int:
    """Write JSON objects, one a line, in one move; return how many."""
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def iter_solved(path: Path) -> Iterator[SolvedProblem]:
    """Yield the rows of a generations file; only the ids of those before are held.

    Raises: MissingInput; BadRecord with the line's number and the field that is wrong.
    """
    if not path.is_file():
        raise MissingInput(f"{path} is not there")
    line_of: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1:
                if encoding := says_encoding(line):
                    raise BadRecord(f"{path} is {encoding}; save it as UTF-8")
                line = without_mark(line)
            if not line.strip():
                continue
            try:
                solved = decode(line, _SOLVED)
            except BadRecord as error:
                raise BadRecord(f"{path} line {number}: {error}") from None
            first = line_of.setdefault(solved.problem.id, number)
            if first != number:
                raise BadRecord(
                    f"{path} line {number}: problem {solved.problem.id} is in line {first} already"
                )
            yield solved
    if not line_of:
        raise MissingInput(f"{path} has no rows")


def read_solved(path: Path) -> list[SolvedProblem]:
    """Read a generations file.

    Raises: MissingInput; BadRecord with the line's number and the field that is wrong.
    """
    return list(iter_solved(path))


def solved_line(solved: SolvedProblem) -> bytes:
    """Return the line of a generations file."""
    return msgspec.json.encode(solved) + b"\n"


def write_solved(path: Path, rows: Iterable[SolvedProblem]) -> int:
    """Write a generations file in one move; return the count of its rows."""
    count = 0
    with replacing(path) as temporary, temporary.open("wb") as out:
        for row in rows:
            out.write(solved_line(row))
            count += 1
    return count


class PartialRows:
    """Solved problems kept as they come, so that a killed run goes on where it was.

    Lines are appended in any order and a torn last line is dropped; `finish` writes the ordered
    file and removes this one.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.path = out.with_name(f".{out.name}.partial")
        self.out = out
        self.done: dict[str, SolvedProblem] = {}
        if self.path.is_file():
            header, *lines = self.path.read_bytes().split(b"\n")
            if header == key.encode():
                for number, line in enumerate(lines[:-1], start=2):
                    try:
                        row = decode(line, _SOLVED)
                    except BadRecord as error:
                        raise BadRecord(
                            f"{self.path} line {number}: {error}; delete this line to make its"
                            " problem again, or the file to begin anew"
                        ) from None
                    self.done[row.problem.id] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        body = b"".join(map(solved_line, self.done.values()))
        self.path.write_bytes(key.encode() + b"\n" + body)

    def add(self, solved: Iterable[SolvedProblem]) -> None:
        """Append rows and flush them to disk."""
        with self.path.open("ab") as out:
            for row in solved:
                self.done[row.problem.id] = row
                out.write(solved_line(row))

    def finish(
        self,
        order: Iterable[str],
        *,
        complete: Callable[[list[SolvedProblem]], list[SolvedProblem]] = list,
    ) -> int:
        """Write the rows in the order of problem ids, as `complete` returns them; return how
        many.
        """
        rows = complete([self.done[problem_id] for problem_id in order])
        count = write_solved(self.out, rows)
        self.path.unlink()
        return count
