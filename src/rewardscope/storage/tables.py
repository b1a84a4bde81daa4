"""Result tables: csv for rows of one shape, JSON for nested results."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rewardscope.errors import MissingInput
from rewardscope.storage.files import replacing


def write_csv(path: Path, rows: Iterable[Any], *, fields: Sequence[str]) -> int:
    """Write dataclass instances or dicts as csv in one move; an unknown value (None) is an empty
    cell.
    """
    count = 0
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(fields), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row if isinstance(row, dict) else asdict(row))
            count += 1
    return count


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a csv file as text cells. Raises: MissingInput."""
    if not path.is_file():
        raise MissingInput(f"{path} is not there")
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises: MissingInput."""
    if not path.is_file():
        raise MissingInput(f"{path} is not there")
    return json.loads(path.read_text(encoding="utf-8"))


def show_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay cells out in aligned columns, numbers to the right."""
    cells = [[str(cell) for cell in header], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        fitted = (
            c.rjust(w) if c[:1].isdigit() or c[:1] == "-" else c.ljust(w)
            for c, w in zip(row, widths, strict=True)
        )
        return "  ".join(fitted).rstrip()

    return "\n".join(
        [line(cells[0]), "  ".join("-" * w for w in widths), *(line(row) for row in cells[1:])]
    )
