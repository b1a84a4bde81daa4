"""Text files that others wrote: UTF-8, with or without a byte order mark."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rewardscope.errors import BadRecord

_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_REMEDY = "save it as UTF-8"


@contextmanager
def open_text(path: Path, *, newline: str | None = None) -> Iterator[TextIO]:
    """Open a text file for reading.

    Raises: BadRecord, whenever it is read, with the line and the byte that is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as lines:
            yield lines
    except UnicodeDecodeError:
        raise BadRecord(_not_utf8(path)) from None


def read_text(path: Path) -> str:
    """Return the text of a file. Raises: BadRecord with the line and the byte that is not UTF-8."""
    with open_text(path) as lines:
        return lines.read()


def without_mark(raw: bytes) -> bytes:
    """Return the bytes of a text without the byte order mark of UTF-8."""
    return raw.removeprefix(codecs.BOM_UTF8)


def says_encoding(raw: bytes) -> str | None:
    """Say which other encoding a file is in by its first bytes; None where they do not tell."""
    return next((name for mark, name in _OTHER_MARKS.items() if raw.startswith(mark)), None)


def bad_byte(raw: bytes, position: int) -> str:
    """Say which byte of a line is not UTF-8, counted from 1."""
    return f"byte {position + 1}, 0x{raw[position]:02x}, is not UTF-8; {_REMEDY}"


def _not_utf8(path: Path) -> str:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1 and (name := says_encoding(line)):
                return f"{path} is {name}; {_REMEDY}"
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"{path} line {number}: {bad_byte(line, error.start)}"
    return f"{path} was changed while it was read"
