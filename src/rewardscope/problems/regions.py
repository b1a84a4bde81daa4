"""Read inequalities, set-builders and unions of intervals as sets of real numbers."""

import re
from typing import Any, NamedTuple

from sympy import (
    Basic,
    Complement,
    EmptySet,
    Expr,
    FiniteSet,
    Intersection,
    Interval,
    Reals,
    Rel,
    Union,
    oo,
)
from sympy import Set as SympySet

from rewardscope.problems.expressions import number_in, parsed

_EMPTY = re.compile(
    r"\\emptyset|\\varnothing|\\O|\\\{\s*\\\}|\{\s*\}"
    r"|(?:\\(?:text|mbox|mathrm)\s*\{)?\s*(?:there\s+(?:is|are)\s+)?(?:no|none|empty)"
    r"(?:\s+(?:real\s+)?(?:solutions?|set|values?|roots?))?\s*\}?",
    re.IGNORECASE,
)
_ALL = re.compile(
    r"\\mathbb\s*\{?\s*R\s*\}?|\\(?:Reals|R)|(?:\\(?:text|mbox)\s*\{)?\s*all\s+real"
    r"(?:\s+(?:numbers?|values?))?(?:\s+[a-z])?\s*\}?",
    re.IGNORECASE,
)
_WORD = r"(?:\\(?:text|mbox|mathrm|textrm)\s*\{{\s*{0}\s*\}}|(?<![\\A-Za-z]){0}(?![A-Za-z]))"
_SPACE = r"(?:\s|~|\\[,;:! ]|\\q?quad)*"
_OR = re.compile(rf"{_SPACE},?{_SPACE}(?:{_WORD.format('or')}|\\lor|\\vee|\\cup){_SPACE}")
_AND = re.compile(rf"{_SPACE},?{_SPACE}(?:{_WORD.format('and')}|\\land|\\wedge|\\cap){_SPACE}")
_WITHOUT = re.compile(r"\\setminus|\\backslash|(?<=\})\s*\\\s*(?=\\\{)")
_RELATION = re.compile(
    r"(\\(?:leqslant|leqq|leq|le|lt|geqslant|geqq|geq|ge|gt|neq|ne|in)(?![A-Za-z])|<=|>=|!=|<|>)"
)
_MEANING = {
    **dict.fromkeys(("leqslant", "leqq", "leq", "le", "<="), "<="),
    **dict.fromkeys(("geqslant", "geqq", "geq", "ge", ">="), ">="),
    **dict.fromkeys(("lt", "<"), "<"),
    **dict.fromkeys(("gt", ">"), ">"),
    **dict.fromkeys(("neq", "ne", "!="), "!="),
    "in": "in",
}
_BUILDER = re.compile(
    r"\\\{\s*(?P<member>[^|:{}]*?(?:\\mathbb\s*\{?R\}?)?)\s*(?:\\mid|\\vert|\\colon|\||:)"
    r"\s*(?P<condition>.*?)\s*\\\}",
    re.DOTALL,
)
_VARIABLE = re.compile(r"(?!(?:\\pi|\\infty|e)$)\\?[A-Za-z]+(?:_\{?\w+\}?)?(?:\([a-z]\))?")
_INTERVAL = re.compile(
    r"([(\[\]])([^,;()\[\]]*(?:\([^()]*\)[^,;()\[\]]*)*)[,;](.*)([)\]\[])", re.DOTALL
)
_FINITE = re.compile(r"\\\{(.*)\\\}", re.DOTALL)


class Region(NamedTuple):
    """A set of real numbers, and the name of the variable that is said to lie in it."""

    variable: str | None
    numbers: SympySet


def region(text: str, *, intervals: bool = False) -> Region | None:
    r"""Return the set of real numbers that a text describes, or None.

    An interval alone is one only with `intervals`: `(1,2)` may be a pair as well.
    """
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])", "", text).strip()
    if "=" in re.sub(r"[<>!]=", "", text):
        return None
    found = _alternatives(text)
    alone = found is not None and found.variable is None and _is_plain_set(text)
    return None if alone and not intervals else found


def _is_plain_set(text: str) -> bool:
    if text[0] == "]" or text[-1] == "[":  # ]-1,3] can be nothing but an interval
        return False
    return bool(_INTERVAL.fullmatch(text) or _FINITE.fullmatch(text)) and not (
        _OR.search(text) or _WITHOUT.search(text) or _EMPTY.fullmatch(text)
    )


def _alternatives(text: str) -> Region | None:
    if built := _BUILDER.fullmatch(text):
        return _alternatives(built["condition"])
    if inside := re.fullmatch(r"(\\?[A-Za-z]\w*)\s*\\in(?![A-Za-z])\s*(.*)", text, re.DOTALL):
        found = _alternatives(inside[2].strip())
        return found and Region(inside[1], found.numbers)
    return _joined(_OR.split(text), _conditions, Union)


def _conditions(text: str) -> Region | None:
    return _joined(_AND.split(text), _one, Intersection)


def _joined(parts: list[str], read: Any, join: Any) -> Region | None:
    regions = [read(part.strip()) for part in parts]
    if None in regions:
        return None
    variables = {each.variable for each in regions if each.variable}
    if len(variables) > 1:
        return None
    return Region(next(iter(variables), None), join(*(each.numbers for each in regions)))


def _one(text: str) -> Region | None:
    """Read what neither `or` nor `and` joins."""
    if _EMPTY.fullmatch(text):
        return Region(None, EmptySet)
    if _ALL.fullmatch(text):
        return Region(None, Reals)
    if len(parts := _WITHOUT.split(text)) == 2:
        whole, hole = (_one(part.strip()) for part in parts)
        return whole and hole and Region(None, Complement(whole.numbers, hole.numbers))
    if _RELATION.search(text):
        return _chain(text)
    if found := _INTERVAL.fullmatch(text):
        return _interval(*found.groups())
    if found := _FINITE.fullmatch(text):
        numbers = [number_in(part) for part in found[1].split(",")]
        return None if None in numbers else Region(None, FiniteSet(*numbers))
    return None


def _interval(left: str, low: str, high: str, right: str) -> Region | None:
    start, end = number_in(low), number_in(high)
    if start is None or end is None:
        return None
    if not (end - start).is_extended_positive:  # type: ignore[operator]
        return None
    return Region(None, Interval(start, end, left != "[", right != "]"))


def _chain(text: str) -> Region | None:
    """Read `-3 < x <= 8`: one variable, and a number on each side that has one."""
    pieces = [piece.strip() for piece in _RELATION.split(text)]
    terms, relations = pieces[::2], [_MEANING[sign.lstrip("\\")] for sign in pieces[1::2]]
    places = [i for i, term in enumerate(terms) if _VARIABLE.fullmatch(term)]
    if "in" in relations:
        return None
    if len(places) != 1 or len(terms) > 3:
        return _solved(terms, relations)
    variable, numbers = terms[places[0]], Reals
    for i, relation in enumerate(relations):
        left = i < places[0]  # of the variable
        bound = number_in(terms[i] if left else terms[i + 1])
        if bound is None or (i != places[0] and i + 1 != places[0]):
            return _solved(terms, relations)
        numbers = Intersection(numbers, _side(_mirrored(relation) if left else relation, bound))
    return Region(variable, numbers)


def _solved(terms: list[str], relations: list[str]) -> Region | None:
    """Solve a chain of inequalities in one variable, such as `|x| < 1`."""
    sides = [parsed(term) for term in terms]
    expressions = [side[0] if side and isinstance(side[0], Expr) else None for side in sides]
    if None in expressions:
        return None
    names = {symbol for each in expressions if each is not None for symbol in each.free_symbols}
    if len(names) != 1:
        return None
    numbers = Reals
    try:
        for relation, left, right in zip(relations, expressions[:-1], expressions[1:], strict=True):
            held: Any = Rel(left, right, relation)
            numbers = Intersection(numbers, held.as_set())
    except (NotImplementedError, TypeError, AttributeError):
        return None
    return Region(str(next(iter(names))), numbers)


def _mirrored(relation: str) -> str:
    return relation.translate(str.maketrans("<>", "><"))


def _side(relation: str, bound: Basic) -> SympySet:
    if relation == "!=":
        return Complement(Reals, FiniteSet(bound))
    if relation[0] == "<":
        return Interval(-oo, bound, True, relation == "<")
    return Interval(bound, oo, relation == ">", True)


def pieces(numbers: SympySet) -> list[tuple[Any, Any, bool, bool]] | None:
    """Return the intervals and points of a set in order: both ends, and whether each is left out;
    None where it is made of anything else.
    """
    if numbers is Reals or numbers == Reals:
        return [(-oo, oo, True, True)]
    parts = numbers.args if isinstance(numbers, Union) else (numbers,)
    found: list[tuple[Any, Any, bool, bool]] = []
    for part in parts:
        if part is EmptySet:
            continue
        if isinstance(part, Interval):
            found.append((part.start, part.end, bool(part.left_open), bool(part.right_open)))
        elif isinstance(part, FiniteSet):
            found += [(point, point, False, False) for point in part.args]
        else:
            return None
    return sorted(found, key=lambda piece: float(piece[0]))
