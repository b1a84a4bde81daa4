"""A grading process: math-verify with its parsing failures repaired, units dropped, and gaps
measured; one JSON request a line.

Run as a file by `answers.Grader`, never imported by it, so that sympy stays out of the main
process. The kernel ends this process when one request takes too much CPU time or memory; the caller
sees the pipe close.
"""

import contextlib
import json
import logging
import math
import os
import re
import resource
import signal
import sys
from fractions import Fraction
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from sympy import (
    Basic,
    Derivative,
    Eq,
    FiniteSet,
    Float,
    Interval,
    MatrixBase,
    Rational,
    Symbol,
    Tuple,
)

# numbers that agree to 6 decimals must also agree to this: else all tiny numbers would be equal
RELATIVE_TOLERANCE = 1e-5
# numbers this near are equal at any size: 6.02 \times 10^{23} is 602000000000000000000000
FLOAT_NOISE = 1e-12
MEMORY_BYTES = 4 << 30

# The box alone: where it cannot be parsed, math-verify would else take the last fraction or number
# in it for the answer.
_BOX_ONLY = (LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0),)

_E_NOTATION = re.compile(r"(?<![A-Za-z\\\d.])(\d+\.?\d*|\.\d+)[eE]([+-]?\d+)(?![\d.A-Za-z^_{])")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\overline\{(\d+)\}")
# \mathrm{~m} / \mathrm{s}^{2}
_UNITS = r"(?:\\(?:text|mbox|mathrm)\{[^{}]*\}(?:\^\{?-?\d+\}?)?(?:[\s/~]|\\cdot|\\,|\\ )*)+"
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_REWRITES = (
    *(
        (
            re.compile(rf"(?<=\d)\s*(?:\\text\{{\s*{word}\s*\}}|{word}\b)"),
            rf"\\times 10^{{{power}}} ",
        )
        for word, power in _SCALES.items()
    ),
    (re.compile(r"×"), r"\\times "),
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi "),  # 12 pi
    # a line of a matrix with its distance: \\[8pt]
    (re.compile(r"\\\\\[-?[\d.]+(?:pt|em|ex|mm)\]"), r"\\\\ "),
    (re.compile(r"\bnp\.(\w+)"), r"\\\1"),  # np.arcsin(10/13)
    (re.compile(r"(?<=\d)(?:\\[,;:! ]|~)(?=\d{3}(?!\d))"), ""),  # 10\,000
    (re.compile(r"(?<=\d)\.(?=\s*(?:[/*+)\-]|$))"), ""),  # -1./3, 12.
    (re.compile(r"(?<![\d./])(\d+) +(\d+)/(\d+)(?![\d./])"), r"\1\\frac{\2}{\3}"),  # 3 1/2
    # \text{3 apples}
    (re.compile(r"^\\(?:text|mbox|mathrm)\{\s*(-?[\d.,]+)\s+[A-Za-z ]+\}$"), r"\1"),
    (re.compile(r"(?<![\\A-Za-z])([Ee])(?=\s*_)"), r"\\mathcal{\1}"),  # E_{1} is not Euler's number
    # Text within a formula: math-verify takes all from the first \text{ to a closing brace at the
    # end for a unit. A space stops it.
    (re.compile(rf"(?!{_UNITS}$)\\(text|mbox|mathrm)\{{(?!\s*(?:and|or)\s*\}})"), r"\\\1 {"),
    # M_{\odot}, m_{\max }
    (re.compile(r"_(?:\{\s*\\([A-Za-z]+)\s*\}|\\([A-Za-z]+)\b(?!\s*\{))"), r"_{\1\2}"),
)
_LIST_COMMA = re.compile(r",(?=[^\s!])")
# A unit or a noun in plain letters after a number: 166 cm^2, 30 km/h, 18 dollars. Only dropped
# where no letter can be right.
_NO_UNITS = "sin|cos|tan|cot|log|exp|mod|and|half|dozen|hundred|percent|over|times|plus|minus"
_SHORT_UNITS = "[kcdm]?m|[km]?g|m?s|hr?|lb|oz|ft|in|mi|m?[lL]|[kM]?Hz|k?[JWVNK]|A|C|Pa|eV"
_UNIT = rf"(?:(?!(?:{_NO_UNITS})\b)[A-Za-z]{{3,}}|{_SHORT_UNITS})\b(?:\^\{{?-?\d\}}?)?"
_PLAIN_UNITS = re.compile(
    rf"(?<=[\d}})])\s*(?:\\[,; ]|~)*\s*{_UNIT}(?:\s*(?:/|\\cdot|\s)\s*{_UNIT})*\s*(?=,|$)"
)
_BASE = re.compile(r"\d_\{?(\d+)\}?$")


def repair(text: str) -> str:
    """Rewrite what math-verify misreads: e-notation, repeating decimals, `np.`, bare trailing
    points, mixed numbers, `$` inside.
    """
    text = re.sub(r"(?<!\\)\$", "", text).strip()
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = _E_NOTATION.sub(lambda m: rf"{m[1].rstrip('.')} \times 10^{{{int(m[2])}}}", text)
    return _REPEATING.sub(_as_fraction, text)


def _as_fraction(match: re.Match[str]) -> str:
    whole, fixed, repeated = match[1] or "0", match[2], match[3]
    period = 10 ** len(repeated) - 1
    value = Fraction(int(whole + fixed) * period + int(repeated), 10 ** len(fixed) * period)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


@lru_cache(maxsize=4096)
def parsed(text: str) -> tuple[Any, ...]:
    """Return what math-verify makes of an answer: an expression where it can, and the normalised
    string.
    """
    found = parse(rf"\boxed{{{repair(text)}}}", _BOX_ONLY, parsing_timeout=None)  # type: ignore[arg-type]
    return tuple(_without_derivatives(each) for each in found)


def _without_derivatives(parsed_item: Any) -> Any:
    """Replace dx/dt by a symbol: sympy knows no dependence of x on t and would work it out to 0."""
    if not isinstance(parsed_item, Basic):
        return parsed_item
    return parsed_item.xreplace(
        {each: Symbol(f"D{each.args}") for each in parsed_item.atoms(Derivative)}
    )


def judge(gold: str, answer: str) -> bool:
    """Say whether `answer` equals `gold` in value or form."""
    golds, answers = _read_both(gold, answer)
    if not golds or not answers or _differ_in_base(gold, answer):
        return False
    if (
        isinstance(golds[0], Interval)
        and golds[0].is_open
        and isinstance(answers[0], FiniteSet | Tuple)
    ):
        # (1, 2) is read as an interval; beside 2, 1 it is a pair, and ordered
        golds[0] = Tuple(golds[0].start, golds[0].end)
    agrees = verify(golds, answers, allow_set_relation_comp=True, timeout_seconds=None)
    if not any(isinstance(each, Basic) and each.has(Float) for each in (golds[0], answers[0])):
        return agrees  # exact numbers need no tolerance
    percent = "%" in gold + answer
    gap = _gap_or_percent(golds[0], answers[0], relative=True, percent=percent)
    if gap is None:
        return agrees
    return gap <= RELATIVE_TOLERANCE if agrees or percent else gap <= FLOAT_NOISE


def same(a: str, b: str) -> bool:
    """Say whether two answers are equal whichever of them is taken for the gold one."""
    return judge(a, b) and judge(b, a)


def grade(gold: str, answer: str, tolerance: float | None) -> tuple[bool | None, float | None]:
    """Return whether an answer is right, and how far its numbers are off.

    None for the first where the answer cannot be read as an expression and the gold one can. The
    second is the largest relative difference of the numbers that correspond in two answers of one
    shape, and None where anything else differs. `tolerance` is an absolute difference that is right
    as well.
    """
    if judge(gold, answer):
        return True, 0.0
    golds, answers = _read_both(gold, answer)
    if not answers or (isinstance(answers[0], str) and golds and not isinstance(golds[0], str)):
        return None, None
    if not golds or _differ_in_base(gold, answer):
        return False, None
    percent = "%" in gold + answer
    off = _gap_or_percent(golds[0], answers[0], relative=False, percent=percent)
    near = tolerance is not None and off is not None and off <= tolerance * (1 + FLOAT_NOISE)
    return near, _gap_or_percent(golds[0], answers[0], relative=True, percent=percent)


def _read_both(gold: str, answer: str) -> tuple[list[Any], list[Any]]:
    """Parse both, with what only the other one can tell: a list beside a list; units beside a plain
    number.
    """
    if ", " in gold:
        answer = _LIST_COMMA.sub(", ", answer)  # beside a list, 10,100 is a list and not 10100
    golds, answers = list(parsed(gold)), list(parsed(answer))
    both = [each[0] for each in (golds, answers) if each and isinstance(each[0], Basic)]
    if len(both) == 2 and not both[0].free_symbols and both[1].free_symbols:
        answers = list(parsed(_PLAIN_UNITS.sub("", answer)))
    return golds, answers


def _differ_in_base(gold: str, answer: str) -> bool:
    """Say whether both name a number base (`11_2`), and not the same."""
    bases = [_BASE.search(text.strip().strip("$")) for text in (gold, answer)]
    return bases[0] is not None and bases[1] is not None and bases[0][1] != bases[1][1]


def _gap_or_percent(a: Any, b: Any, *, relative: bool, percent: bool) -> float | None:
    """Return the largest gap; where one of two numbers is a percentage, 50, 50 % and 0.5 are the
    same.
    """
    if not (percent and isinstance(b, Basic) and b.is_number):  # type: ignore[attr-defined]
        return _largest_gap(a, b, relative=relative)
    gaps = [_gap(a, b * factor, relative=relative) for factor in (1, 100, Rational(1, 100))]  # type: ignore[operator]
    return min((gap for gap in gaps if gap is not None), default=None)


def _largest_gap(a: Any, b: Any, *, relative: bool) -> float | None:
    """Return the largest gap of the numbers that correspond in two answers of one shape, None where
    anything else differs.
    """
    if isinstance(a, Eq) and isinstance(b, Eq) and a.lhs != b.lhs:
        return None
    a, b = _value(a), _value(b)
    if isinstance(a, FiniteSet) and isinstance(b, FiniteSet):
        parts = _ascending(a), _ascending(b)
    elif type(a) is type(b) and isinstance(a, Tuple | Interval):
        parts = a.args, b.args
    elif isinstance(a, MatrixBase) and isinstance(b, MatrixBase) and a.shape == b.shape:
        parts = a.flat(), b.flat()
    else:
        return 0.0 if a == b else _gap(a, b, relative=relative)
    if len(parts[0]) != len(parts[1]):
        return None
    gaps = [_largest_gap(x, y, relative=relative) for x, y in zip(*parts, strict=True)]
    return None if None in gaps else max((gap for gap in gaps if gap is not None), default=0.0)


def _value(item: Any) -> Any:
    """Return what an equation says its symbol is: 5 for x = 5."""
    return item.rhs if isinstance(item, Eq) and isinstance(item.lhs, Symbol) else item


def _ascending(values: FiniteSet) -> list[Any]:
    """Return real numbers in order, and anything else as it stands."""
    items = list(values.args)
    return (
        sorted(items, key=lambda item: float(item))
        if all(item.is_extended_real and item.is_number for item in items)
        else items
    )


def _gap(a: Any, b: Any, *, relative: bool) -> float | None:
    """Return |a - b|, or its share of the larger, where both are numbers."""
    if not (isinstance(a, Basic) and isinstance(b, Basic)):
        return None
    try:
        if not (a.is_number and b.is_number):  # type: ignore[attr-defined]
            return None
        a, b = a.doit().evalf(30), b.doit().evalf(30)  # type: ignore[attr-defined]
        larger = max(abs(a), abs(b)) if relative else 1
        gap = float(abs(a - b) / larger) if larger else 0.0
        return gap if math.isfinite(gap) else None
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None


def main() -> None:
    """Answer requests `[kind, a, b, tolerance]` with `[verdict, gap]` until the input ends.

    The argument is the limit in CPU seconds.
    """
    seconds = float(sys.argv[1])
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not pass for a reply
    with contextlib.suppress(ValueError, OSError):  # not every system lets a process lower it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # CPU time, not wall time: a busy machine must not turn right answers into unjudged ones. The
    # default action ends the process,
    # also inside C code that no Python handler could interrupt.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    replies.write("ready\n")
    for line in sys.stdin:
        kind, a, b, tolerance = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        reply = grade(a, b, tolerance) if kind == "grade" else (same(a, b), None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
