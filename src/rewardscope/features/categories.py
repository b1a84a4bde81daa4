"""What kind of text a token is: the categories in which features' firing is counted.

The paper calls whitespace, punctuation and Unicode tokens formatting artefacts; FORMATTING is that
set.
"""

import re
import unicodedata
from typing import Literal, get_args

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
