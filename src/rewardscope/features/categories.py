"""What kind of text a token is: the categories in which features' firing is counted.

The paper calls whitespace, punctuation and Unicode tokens formatting artefacts; FORMATTING is that
set.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    import numpy as np  # not loaded, so that tables of features are read without it

Category = Literal[
    "whitespace", "punctuation", "unicode", "digit", "operator", "word", "markup", "step_tag"
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
FORMATTING: tuple[Category, ...] = ("whitespace", "punctuation", "unicode")
_PRECEDENCE: tuple[Category, ...] = ("word", "digit", "unicode", "operator", "punctuation")

_OPERATORS = frozenset("+-*/=<>^%|~×÷±−·≤≥≠≈√")
_MARKUP = re.compile(r"\s*(</?[A-Za-z_][^<>\s]*>|<\|[^<>|]*\|>)\s*")


def category_of(text: str) -> Category:
    """Return the category of a token's text.

    A token that mixes kinds goes to the first of: markup (`<think>`, `<|im_end|>`), whitespace
    only, word (any letter, so also `\\frac`), digit, unicode (any other character outside ASCII,
    and pieces of one), operator, punctuation. Common operators outside ASCII such as × are
    operators.
    """
    if _MARKUP.fullmatch(text):
        return "markup"
    if text.isspace():
        return "whitespace"
    kinds = {_kind(character) for character in text if not character.isspace()}
    for kind in _PRECEDENCE:
        if kind in kinds:
            return kind
    return "unicode"  # an empty text is a piece of a character


def _kind(character: str) -> Category:
    if unicodedata.category(character).startswith("L"):
        return "word"
    if character.isdecimal():
        return "digit"
    if character in _OPERATORS:
        return "operator"
    return "punctuation" if character.isascii() else "unicode"


class RowTexts(NamedTuple):
    """The text that each row stands for, and its category, as positions in `texts` and in
    CATEGORIES.
    """

    texts: tuple[str, ...]
    text_N: "np.ndarray"  # int32
    category_N: "np.ndarray"  # uint8


def row_texts(
    tokens: Sequence[list[str]],
    sequence_N: "np.ndarray",
    token_N: "np.ndarray",
    step_end_N: "np.ndarray",
    *,
    every_token: bool,
) -> RowTexts:
    """Return the text and the category of each row; `tokens` holds the texts of each sequence.

    With every token captured, a row at a step end is a `step_tag`. Where only step ends were
    captured, each stands for the token before its step tag.
    """
    import numpy as np

    shifted_N = token_N - (step_end_N if not every_token else np.zeros_like(step_end_N))
    codes: dict[str, int] = {}
    text_N = np.fromiter(
        (
            codes.setdefault(tokens[s][max(0, t)], len(codes))
            for s, t in zip(sequence_N, shifted_N, strict=True)
        ),
        np.int32,
        len(token_N),
    )
    category_of_text = np.array(
        [CATEGORIES.index(category_of(text)) for text in codes], dtype=np.uint8
    )
    category_N = category_of_text[text_N]
    if every_token:
        category_N[step_end_N] = CATEGORIES.index("step_tag")
    return RowTexts(tuple(codes), text_N, category_N)
