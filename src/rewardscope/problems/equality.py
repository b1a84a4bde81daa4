"""Decide whether an answer equals the gold one, in value or form; the rules of grading.

What a text says beside its expression comes first: opposite words, times, ratios, choices, sets,
units, percent. The expressions are then compared exactly, and by math-verify where they are more
than numbers.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from math_verify import verify
from sympy import Basic, Eq, FiniteSet, Float, I, Interval, Rational, Tuple, nan
from sympy import Set as SympySet

from rewardscope.problems.expressions import parsed, with_imaginary_unit
from rewardscope.problems.notation import undressed
from rewardscope.problems.numbers import (
    FLOAT_NOISE,
    RELATIVE_TOLERANCE,
    exact_verdict,
    exactly_equal,
    is_exact,
    largest_gap,
)
from rewardscope.problems.regions import pieces, region
from rewardscope.problems.units import Unit, split_unit
from rewardscope.problems.wording import are_opposed, choice, ratio, same_time, time_of_day

_PERCENT = re.compile(
    r"(?:\\[,;:! ]|\s|~)*(?:\\?%|\\(?:text|mbox|mathrm)\s*\{\s*(?:percent|percentage|\\?%)\s*\}"
    r"|\bper ?cent(?:age)?\b)"
)
_LIST_COMMA = re.compile(r",(?=[^\s!])")
_BASE = re.compile(
    r"[\dA-F]_\s*"
    r"(?:\{\s*(?:\\(?:text|mathrm)\s*\{)?\s*(\d+|[a-z]+)\s*\}*|(\d+)|\\text\{([a-z]+)\})$"
)
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}
_BASES |= {"eight": "8", "nine": "9", "ten": "10", "twelve": "12", "sixteen": "16"}
# A noun in plain letters after a number: 18 dollars, 3 apples. Only dropped where no letter can be
# right.
_NO_UNITS = "sin|cos|tan|cot|log|exp|mod|and|half|dozen|hundred|percent|over|times|plus|minus"
_SHORT_UNITS = "[kcdm]?m|[km]?g|m?s|hr?|lb|oz|ft|in|mi|m?[lL]|[kM]?Hz|k?[JWVNK]|A|C|Pa|eV"
_UNIT = rf"(?:(?!(?:{_NO_UNITS})\b)[A-Za-z]{{3,}}|{_SHORT_UNITS})\b(?:\^\{{?-?\d\}}?)?"
_PLAIN_UNITS = re.compile(
    rf"(?<=[\d}})])\s*(?:\\[,; ]|~)*\s*{_UNIT}(?:\s*(?:/|\\cdot|\s)\s*{_UNIT})*\s*(?=,|$)"
)
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")


class _Side(NamedTuple):
    """One of two answers, ready to be parsed."""

    text: str
    unit: Unit | None
    percent: bool


def judge(gold: str, answer: str) -> bool:
    """Say whether `answer` equals `gold` in value or form."""
    gold, answer = undressed(gold), undressed(answer)
    by_words = _verdict_of_words(gold, answer)
    if by_words is not None:
        return by_words
    if _kind_of_brackets(gold) | _kind_of_brackets(answer) == {"set", "ordered"}:
        return False
    if _differ_in_base(gold, answer):
        return False
    percent = _PERCENT.search(gold + answer) is not None
    return any(
        _equal(golds, answers, percent=percent) for golds, answers in _readings(gold, answer)
    )


def same(a: str, b: str) -> bool:
    """Say whether two answers are equal whichever of them is taken for the gold one."""
    return judge(a, b) and judge(b, a)


class Reading(NamedTuple):
    """What can be said of a pair that is not equal."""

    gold_read: bool
    answer_read: bool
    gaps: tuple[tuple[float, bool], tuple[float, bool]] | None
    """Absolute and relative: how far numbers are off, and whether they are whole."""


def read(gold: str, answer: str) -> Reading:
    """Say whether both sides can be read, and how far their numbers are apart."""
    gold, answer = undressed(gold), undressed(answer)
    decided = _verdict_of_words(gold, answer) is False
    readings = list(_readings(gold, answer))
    if not readings:  # units of different things
        decided, readings = True, [([], [])]
    golds, answers = readings[0]
    gaps = []
    for golds, answers in readings:
        if not (golds and answers) or nan in (golds[0], answers[0]):
            continue
        if decided or _differ_in_base(gold, answer):
            continue
        pair = [largest_gap(golds[0], answers[0], relative=relative) for relative in (False, True)]
        if pair[0] and pair[1]:
            gaps.append((pair[0], pair[1]))
    return Reading(
        decided or _is_read(golds) or _are_words(gold),
        decided or _is_read(answers) or _are_words(answer),
        min(gaps, key=lambda pair: pair[1][0], default=None),
    )


def _is_read(found: list[Any]) -> bool:
    return bool(found) and not isinstance(found[0], str)


def _are_words(text: str) -> bool:
    return (
        re.fullmatch(r"(?:[A-Za-z'\u2019 .,-]|\\(?:text|mbox|mathrm)\s*\{|\})+", text) is not None
    )


def _verdict_of_words(gold: str, answer: str) -> bool | None:
    """Decide what words, times, ratios, choices and sets of numbers decide; None for the rest."""
    if are_opposed(gold, answer):
        return False
    times = time_of_day(gold), time_of_day(answer)
    if times[0] and times[1]:
        return same_time(times[0], times[1])
    ratios = ratio(gold), ratio(answer)
    if ratios[0] and ratios[1]:
        return ratios[0] == ratios[1]
    if (times[0] or times[1]) and not (ratios[0] and ratios[1]):
        return False
    choices = choice(gold), choice(answer)
    if (choices[0] and choices[0][1]) or (choices[1] and choices[1][1]):
        return _same_choice(gold, choices[0], answer, choices[1])
    regions = region(gold), region(answer)
    if regions[0] or regions[1]:
        first, second = (
            each or region(text, intervals=True)
            for each, text in zip(regions, (gold, answer), strict=True)
        )
        if first and second:
            names = {each.variable for each in (first, second)} - {None}
            return len(names) < 2 and _same_numbers(first.numbers, second.numbers)
    return None


def _same_choice(
    gold: str, named: tuple[str, str] | None, answer: str, given: tuple[str, str] | None
) -> bool:
    """Compare where one names a choice with its letter and its value; the other may have either."""
    if named and given:
        both = named[1] and given[1]
        return named[0] == given[0] and (not both or judge(named[1], given[1]))
    (letter, value), other = (named, answer) if named else (given, gold)  # type: ignore[misc]
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf)|[{}()\s.]", "", other)
    if len(bare) == 1 and bare.isalpha():
        return bare.upper() == letter
    return judge(value, other) if named else judge(other, value)


def _same_numbers(a: SympySet, b: SympySet) -> bool:
    parts = pieces(a), pieces(b)
    if parts[0] is None or parts[1] is None:
        return a == b
    return len(parts[0]) == len(parts[1]) and all(
        x[2:] == y[2:] and _near(x[0], y[0]) and _near(x[1], y[1])
        for x, y in zip(parts[0], parts[1], strict=True)
    )


def _near(a: Any, b: Any) -> bool:
    if is_exact(a) and is_exact(b):
        return exactly_equal(a, b)
    gap = largest_gap(a, b, relative=True)
    return gap is not None and gap[0] <= RELATIVE_TOLERANCE


def _kind_of_brackets(text: str) -> set[str]:
    r"""Return whether an answer is written as a set, `\{1,2\}`, or in order, `(1,2)` or `[1,2]`."""
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])", "", text).strip()
    text = re.sub(r"^[A-Za-z]\s*(?:=|\\in(?![A-Za-z]))\s*", "", text)
    if re.fullmatch(r"\\\{[^{}]*,[^{}]*\\\}", text) and not re.search(r"[(\[]", text):
        return {"set"}
    return {"ordered"} if re.fullmatch(r"[(\[][^()\[\]]*,[^()\[\]]*[)\]]", text) else set()


def _readings(gold: str, answer: str) -> Iterator[tuple[list[Any], list[Any]]]:
    """Parse both, with what only the other one can tell: a list beside a list; units beside a plain
    number. Where one of two is a percentage, 50, 50 % and 0.5 are the same: so there may be two.
    """
    if ", " in gold:
        answer = _LIST_COMMA.sub(", ", answer)  # beside a list, 10,100 is a list and not 10100
    sides = _without_percent(gold), _without_percent(answer)
    sides = [_side(*sides[0], other=sides[1][0]), _side(*sides[1], other=sides[0][0])]
    units = [side.unit for side in sides]
    factor: Fraction | bool | None = None
    if units[0] and units[1]:
        factor = units[1].relation(units[0])
        if factor is False:
            return
    golds, answers = (list(parsed(side.text)) for side in sides)
    both = [each[0] for each in (golds, answers) if each and isinstance(each[0], Basic)]
    if len(both) == 2 and not both[0].free_symbols and both[1].free_symbols:
        answers = list(parsed(_PLAIN_UNITS.sub("", sides[1].text)))
    golds, answers = _with_i(golds, answers)
    if factor and factor is not True and factor != 1:
        answers = [_scaled(each, Rational(factor)) for each in answers]
    yield golds, answers
    if sides[0].percent != sides[1].percent:
        hundredth = Rational(1, 100)
        if sides[0].percent:
            yield [_scaled(each, hundredth) for each in golds], answers
        else:
            yield golds, [_scaled(each, hundredth) for each in answers]


def _without_percent(text: str) -> tuple[str, bool]:
    rest = _PERCENT.sub(" ", text).strip()
    return (rest, rest != text.strip()) if rest else (text, False)


def _side(text: str, percent: bool, *, other: str) -> _Side:
    plain = not _LETTER.search(split_unit(other, plain=False)[0])
    text, unit = split_unit(text, plain=plain)
    return _Side(text, unit, percent)


def _with_i(golds: list[Any], answers: list[Any]) -> tuple[list[Any], list[Any]]:
    """Take i for the imaginary unit where it is the only letter of both."""
    both = [each[0] for each in (golds, answers) if each and isinstance(each[0], Basic)]
    free = {symbol for each in both for symbol in each.free_symbols}
    letters = {symbol.name for symbol in free}  # type: ignore[attr-defined]
    if letters == {"i"} or ("i" in letters and any(each.has(I) for each in both)):
        return with_imaginary_unit(golds), with_imaginary_unit(answers)
    return golds, answers


def _scaled(value: Any, factor: Any) -> Any:
    if isinstance(value, Eq):
        return Eq(value.lhs, _scaled(value.rhs, factor), evaluate=False)
    if isinstance(value, FiniteSet | Tuple):
        return value.func(*(_scaled(each, factor) for each in value.args))
    if isinstance(value, Basic) and not isinstance(value, SympySet) and hasattr(value, "is_number"):
        return value * factor  # type: ignore[operator]
    return value


def _differ_in_base(gold: str, answer: str) -> bool:
    """Say whether both name a number base (`11_2`), and not the same."""
    found = [_BASE.search(text.strip()) for text in (gold, answer)]
    bases = [next(filter(None, each.groups()), "") if each else None for each in found]
    return None not in bases and len({_BASES.get(base or "", base) for base in bases}) == 2


def _equal(golds: list[Any], answers: list[Any], *, percent: bool) -> bool:
    if not golds or not answers or nan in (golds[0], answers[0]):
        return False
    golds, answers = _as_pairs(golds, answers)
    exact = exact_verdict(golds[0], answers[0])
    if exact is not None:
        return exact
    agrees = verify(golds, answers, allow_set_relation_comp=True, timeout_seconds=None)
    if not any(isinstance(each, Basic) and each.has(Float) for each in (golds[0], answers[0])):
        return agrees  # exact numbers need no tolerance
    gap = largest_gap(golds[0], answers[0], relative=True)
    if gap is None:
        return agrees
    return gap[0] <= (RELATIVE_TOLERANCE if agrees or percent else FLOAT_NOISE)


def _as_pairs(golds: list[Any], answers: list[Any]) -> tuple[list[Any], list[Any]]:
    """Read (1, 2) as a pair where the other is one: alone, it is read as an interval."""
    first, second = golds[0], answers[0]
    for one, other in ((first, second), (second, first)):
        if isinstance(one, Interval) and one.is_open and isinstance(other, FiniteSet | Tuple):
            pair = Tuple(one.start, one.end)
            listed = Tuple(*getattr(other, "_unsorted_args", other.args))
            found = ([pair], [listed]) if one is first else ([listed], [pair])
            return found if len(listed) == 2 else (golds, answers)
    return golds, answers
