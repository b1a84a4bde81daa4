"""JSON of any schema: one object, with what no later file could hold refused."""

import json
import sys
from typing import Any

from rewardscope.errors import BadRecord

# half the time of json.loads, which looks for blanks around it
_parse = json.JSONDecoder().raw_decode


def parse_object(text: str) -> dict[str, Any]:
    """Parse one object, without blanks around it. Raises: BadRecord."""
    row = parse(text)
    if not isinstance(row, dict):
        raise BadRecord("not a JSON object")
    return row


def parse(text: str) -> Any:
    """Parse a JSON value, without blanks around it.

    Raises: BadRecord, also for a text with half of a surrogate pair, which no file can hold.
    """
    try:
        value, end = _parse(text)
    except json.JSONDecodeError as error:
        raise BadRecord(f"not JSON ({error.msg})") from None
    except RecursionError:
        raise BadRecord("its lists and objects are nested too deeply") from None
    except ValueError:  # Python reads no whole number as long as that
        raise BadRecord(
            f"a whole number of more than {sys.get_int_max_str_digits()} digits; write it as a text"
        ) from None
    if end < len(text):
        raise BadRecord("not JSON (extra data)")
    if "\\ud" in text or "\\uD" in text:
        _refuse_half_pairs(value)
    return value


def _refuse_half_pairs(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise BadRecord(
            f"a text holds half of a surrogate pair (\\u{half:04x}), which no file can hold"
        ) from None
