"""Typed reading: what does not fit its struct is one line that names the field and what it is."""

import re
from typing import Any, TypeVar

import msgspec

from rewardscope.errors import BadRecord
from rewardscope.storage.text import bad_byte, says_encoding, without_mark

T = TypeVar("T")

_AT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<field>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field (\w+)")


def decode(raw: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """Read JSON, with or without a byte order mark.

    Raises: BadRecord with the field, as in `traces[0].correct: Expected bool | null, got str`.
    """
    try:
        try:
            return decoder.decode(without_mark(raw))
        except msgspec.ValidationError as wrong:
            raise BadRecord(_explain(without_mark(raw), wrong, decoder.type)) from None
    except RecursionError:
        raise BadRecord("its lists and objects are nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if encoding := says_encoding(raw):
            raise BadRecord(f"it is {encoding}; save it as UTF-8") from None
        wrong_byte = _first_wrong_byte(raw)
        if wrong_byte is not None:
            raise BadRecord(bad_byte(raw, wrong_byte)) from None
        reason = str(error).removeprefix("JSON is malformed: ").replace("`", "")
        raise BadRecord(f"not JSON ({reason})") from None


def _first_wrong_byte(raw: bytes) -> int | None:
    """Return the position of the first byte that is not UTF-8."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return None


def _explain(raw: bytes, error: msgspec.ValidationError, kind: Any) -> str:
    """Return one line. Raises: DecodeError where the text, read to its end, is not JSON."""
    try:
        value = msgspec.json.decode(raw)
    except msgspec.ValidationError:  # a number that is out of range wherever it stands
        return _one_line(error)
    return _unknown_fields(value, kind) or _one_line(error)


def convert(value: Any, kind: type[T]) -> T:
    """Turn the cells of a csv row, or parsed JSON, into a struct; texts are read as numbers.

    Raises: BadRecord that names the field.
    """
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRecord(_unknown_fields(value, kind) or _one_line(error)) from None


def _one_line(error: msgspec.ValidationError) -> str:
    what, field = _parts(error)
    return f"{field}: {what}" if field else what


def _parts(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return what is wrong, and the field: empty for the whole."""
    found = _AT.fullmatch(str(error))
    assert found is not None, error
    return found["what"].replace("`", ""), found["field"] or ""


def _unknown_fields(value: Any, kind: Any) -> str | None:
    """Return one line about all fields that the type does not know, None where it knows all.

    The decoder stops at the first, so each is taken out in turn. `value` is used up.
    """
    unknown: list[str] = []
    while True:
        try:
            msgspec.convert(value, kind, strict=False)
            break
        except msgspec.ValidationError as error:
            what, holder = _parts(error)
            match = _UNKNOWN.fullmatch(what)
            if match is None:
                break
            unknown.append(f"{holder}.{match[1]}".lstrip("."))
            if "..." in holder:
                break
            _at(value, holder).pop(match[1])
        except BadRecord:
            break
    if not unknown:
        return None
    fields = f"field{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}"
    return f"unknown {fields}; the file may come from a newer version of rewardscope"


def _at(value: Any, holder: str) -> Any:
    """Return what lies at a path such as `traces[0].cost`."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", holder):
        value = value[int(index)] if index else value[name]
    return value
