"""Split a solution into steps and join it back, losing nothing; labels of steps."""

import re
from collections import Counter

from rewardscope.errors import ConfigError

DELIMITER = "\n\n"
_EMPTY_LINE = re.compile(r"\r?\n[^\S\r\n]*\r?\n")


def typed_delimiter(typed: str) -> str:
    r"""Return the text that --delimiter stands for: a typed \n is a newline.

    Raises: ConfigError where it is empty.
    """
    if not typed:
        raise ConfigError("--delimiter: it must not be empty")
    return typed.replace("\\n", "\n")


def with_plain_breaks(text: str, delimiter: str = DELIMITER) -> str:
    r"""Return a text of someone else with \n for every line end and nothing in empty lines, as far
    as the delimiter does not mean them.
    """
    if "\r" not in delimiter:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"\n[^\S\n]+(?=\n)", "\n", text) if delimiter == DELIMITER else text


def delimiter_in(text: str, delimiter: str = DELIMITER) -> str:
    r"""Return the delimiter of a text that must stay as it is: where no line of it is quite empty,
    its commonest form of an empty line, such as \r\n\r\n.
    """
    if delimiter != DELIMITER or delimiter in text:
        return delimiter
    forms = Counter(_EMPTY_LINE.findall(text)).most_common(1)
    return forms[0][0] if forms else delimiter


def split_steps(text: str, delimiter: str = DELIMITER) -> list[str]:
    """Split `text` at each delimiter; `delimiter.join` of the result gives the text back, less
    trailing delimiters.

    A blank piece (as in four newlines in a row) is no step: it stays, with its delimiter, at the
    head of the next step. So a prefix of a text that ends at a delimiter has a prefix of its steps.
    """
    steps, held = [], ""
    for piece in text.split(delimiter):
        if piece.strip():
            steps.append(held + piece)
            held = ""
        else:
            held += piece + delimiter
    return steps


def first_wrong_labels(n_steps: int, first_wrong: int) -> tuple[bool | None, ...]:
    """Return a label a step, where the position of the first wrong one is known (-1: none is)."""
    if first_wrong < 0:
        return (True,) * n_steps
    labels = (*(True,) * first_wrong, False, *(None,) * n_steps)
    return labels[:n_steps]
