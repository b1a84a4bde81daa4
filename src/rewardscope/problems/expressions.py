"""Parse the text of an answer into a sympy expression, by math-verify; plain numbers by hand."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse
from sympy import Basic, Derivative, I, Integer, Rational, Symbol, nan, zoo

from rewardscope.problems.notation import has_numbers_side_by_side, repair

# The box alone: where it cannot be parsed, math-verify would else take the last fraction or number
# in it for the answer.
_BOX_ONLY = (LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0),)
_INTEGER = re.compile(r"-?(?:\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+|\d+)")
_FRACTION = re.compile(
    r"(-?)\\[dt]?frac\s*(?:\{(-?\d+)\}\{(\d+)\}|(\d)\s*(\d))|(-?)(\d+)\s*/\s*(\d+)"
)
_MIXED = re.compile(r"(-?)\s*(\d+)\s*\\[dt]?frac\s*(?:\{(\d+)\}\s*\{(\d+)\}|(\d)\s*(\d))")
_IMAGINARY = Symbol("i", real=True)


@lru_cache(maxsize=4096)
def parsed(text: str) -> tuple[Any, ...]:
    """Return what math-verify makes of an answer: an expression where it can, and the normalised
    string.

    What has no value, such as 1/0, is nan; two numbers side by side are a string alone.
    """
    plain = _plain_number(text.strip())
    if plain is not None:
        return plain, text
    repaired = repair(text)
    if has_numbers_side_by_side(repaired):
        return (repaired,)
    boxed = rf"\boxed{{{repaired}}}"
    found = parse(boxed, _BOX_ONLY, parsing_timeout=None)  # type: ignore[arg-type]
    expressions = tuple(_cleared(each) for each in found)
    if expressions and isinstance(expressions[0], Basic) and expressions[0].has(zoo, nan):
        return nan, repaired
    return expressions


def _plain_number(text: str) -> Basic | None:
    if _INTEGER.fullmatch(text):
        return Integer(int(re.sub(r"[^\d-]", "", text)))
    if found := _FRACTION.fullmatch(text):
        sign, top, bottom = (
            "".join(found[i] or "" for i in group) for group in ((1, 6), (2, 4, 7), (3, 5, 8))
        )
        whole = "0"
    elif found := _MIXED.fullmatch(text):
        sign, whole, top, bottom = found[1], found[2], found[3] or found[5], found[4] or found[6]
    else:
        return None
    if not int(bottom):
        return None
    value = int(whole) + Rational(int(top), int(bottom))
    return -value if sign else value


def _cleared(found: Any) -> Any:
    """Replace dx/dt by a symbol: sympy knows no dependence of x on t and would work it out to 0."""
    if not isinstance(found, Basic):
        return found
    return found.xreplace({each: Symbol(f"D{each.args}") for each in found.atoms(Derivative)})


def with_imaginary_unit(found: Sequence[Any]) -> list[Any]:
    """Return the expressions with the letter i as the imaginary unit."""
    return [_with_letter_i(each) if isinstance(each, Basic) else each for each in found]


def _with_letter_i(found: Basic) -> Basic:
    free: set[Any] = found.free_symbols
    return found.xreplace({symbol: I for symbol in free if symbol.name == "i"})


def number_in(text: str) -> Basic | None:
    """Return the real number, or the infinity, that a text is; None where it is anything else."""
    found = parsed(text.strip().removeprefix("+"))
    value = found[0] if found else None
    if not isinstance(value, Basic) or not getattr(value, "is_number", False):
        return None
    value = value.doit()
    return value if value.is_extended_real else None
