"""Result tables: csv for rows of one shape, JSON for nested results."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.log import printable
from rewardscope.storage.files import replacing
from rewardscope.storage.json_rows import parse
from rewardscope.storage.manifests import check_file
from rewardscope.storage.text import open_text, read_text
from rewardscope.storage.typed import convert, decode

WIDTH = 100  # of what is printed, in characters
_GAP = "  "
T = TypeVar("T", bound=msgspec.Struct)
Read = TypeVar("Read")


def columns_of(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the columns of a table of such rows."""
    return kind.__struct_fields__


def write_csv(path: Path, rows: Iterable[Any], *, fields: Sequence[str]) -> int:
    """Write structs, dataclass instances or dicts as csv in one move; an unknown value (None) is an
    empty cell.
    """
    count = 0
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(fields), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(_cells(row))
            count += 1
    return count


def _cells(row: Any) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    return msgspec.structs.asdict(row) if isinstance(row, msgspec.Struct) else asdict(row)


def read_csv_as(path: Path, kind: type[T]) -> list[T]:
    """Read a csv file as typed rows; an empty cell is an unknown value (None).

    Raises: MissingInput; BadRecord with the line and the column that is wrong, or where the file is
        not what its manifest says.
    """
    if not path.is_file():
        raise MissingInput(f"{path} is not there")
    check_file(path)
    rows = []
    with open_text(path, newline="") as lines:
        reader = csv.DictReader(lines, restkey="", strict=True)
        try:
            for cells in reader:
                rows.append(_row(cells, kind))
        except (BadRecord, csv.Error) as error:
            raise BadRecord(f"{path} line {reader.line_num}: {error}") from None
    return rows


def _row(cells: dict[str, Any], kind: type[T]) -> T:
    if "" in cells:
        raise BadRecord(f"{len(cells.pop(''))} cells more than columns")
    texts = {name: None if cell == "" else cell for name, cell in cells.items()}
    row = convert(texts, kind)
    for name in columns_of(kind):
        value = getattr(row, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise BadRecord(f"{name}: {value} is no number")
    return row


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises: MissingInput, BadRecord."""
    if not path.is_file():
        raise MissingInput(f"{path} is not there")
    text = read_text(path).strip()
    try:
        return parse(text)
    except BadRecord as error:
        raise BadRecord(f"{path}: {error}") from None


def read_json_as(path: Path, kind: type[Read]) -> Read:
    """Read a JSON file into a struct, or a list of them.

    Raises: MissingInput; BadRecord that names the field, or where the file is not what its manifest
        says.
    """
    if not path.is_file():
        raise MissingInput(f"{path} is not there")
    check_file(path)
    try:
        return decode(path.read_bytes(), msgspec.json.Decoder(kind))
    except BadRecord as error:
        raise BadRecord(f"{path}: {error}") from None


def shown(value: float | None, form: str = ".3f") -> str:
    """Return a number as a cell, `-` where there is none."""
    return "-" if value is None else f"{value:{form}}"


def show_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, keys: int = 1, width: int = WIDTH
) -> str:
    """Lay cells out in aligned columns, numbers to the right.

    What does not fit the width goes on below, each part with the first `keys` columns again; cells
    are never cut. Texts at the end of a line, such as paths, may run beyond it.
    """
    cells = [[printable(str(cell), keep="") for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    ends_in_text = not any(_is_number(row[-1]) for row in cells[1:])
    if ends_in_text and sum(w + len(_GAP) for w in widths[:-1]) + len(header[-1]) <= width:
        return _laid_out(cells, widths, list(range(len(header))))
    named, parts = list(range(min(keys, len(header)))), list[list[int]]()
    for column in range(len(named), len(header)):
        beside = [*named, *(parts[-1] if parts else []), column]
        if not parts or sum(widths[c] + len(_GAP) for c in beside) - len(_GAP) > width:
            parts.append([])
        parts[-1].append(column)
    return "\n\n".join(_laid_out(cells, widths, [*named, *part]) for part in parts or [[]])


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] == "-"


def _laid_out(cells: list[list[str]], widths: list[int], columns: list[int]) -> str:
    def line(row: Sequence[str]) -> str:
        fitted = (
            row[c].rjust(widths[c]) if _is_number(row[c]) else row[c].ljust(widths[c])
            for c in columns
        )
        return _GAP.join(fitted).rstrip()

    rule = _GAP.join("-" * widths[c] for c in columns)
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])])
