"""Generations files: one SolvedProblem a line, in problem order."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.records import SolvedProblem
from rewardscope.storage.files import replacing


def read_rows(path: Path) -> Iterator[dict]:
    """Yield the JSON objects of a file. Raises: MissingInput; BadRecord with the line's number."""
    if not path.is_file():
        raise MissingInput(f"{path} is not there")
    # half the time of json.loads, which looks for blanks around it
    decode = json.JSONDecoder().raw_decode
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line:
                continue
            try:
                row, end = decode(line)
            except json.JSONDecodeError as error:
                raise BadRecord(f"{path} line {number}: not JSON ({error.msg})") from None
            if end < len(line):
                raise BadRecord(f"{path} line {number}: not JSON (extra data)")
            if not isinstance(row, dict):
                raise BadRecord(f"{path} line {number}: not a JSON object")
            yield row


def write_rows(path: Path, rows: Iterable[dict]) -> int:
    """Write JSON objects, one a line, in one move; return how many."""
    count = 0
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_solved(path: Path) -> list[SolvedProblem]:
    """Read a generations file.

    Raises: MissingInput; BadRecord with the line's number and what is wrong.
    """
    solved = []
    for number, row in enumerate(read_rows(path), start=1):
        try:
            solved.append(SolvedProblem.from_dict(row))
        except BadRecord as error:
            raise BadRecord(f"{path} line {number}: {error}") from None
    if not solved:
        raise MissingInput(f"{path} has no rows")
    return solved


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
            header, *lines = self.path.read_text(encoding="utf-8").split("\n")
            if header == key:
                for line in lines[:-1]:
                    row = SolvedProblem.from_dict(json.loads(line))
                    self.done[row.problem.id] = row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        body = [
            json.dumps(row.to_dict(), ensure_ascii=False, allow_nan=False)
            for row in self.done.values()
        ]
        self.path.write_text("\n".join([key, *body]) + "\n", encoding="utf-8")

    def add(self, solved: Iterable[SolvedProblem]) -> None:
        """Append rows and flush them to disk."""
        with self.path.open("a", encoding="utf-8") as out:
            for row in solved:
                self.done[row.problem.id] = row
                out.write(json.dumps(row.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")

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
        count = write_rows(self.out, (row.to_dict() for row in rows))
        self.path.unlink()
        return count
