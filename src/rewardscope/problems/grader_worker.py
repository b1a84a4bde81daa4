"""A grading process: math-verify with its parsing failures repaired, one JSON request a line.

Run as a file by `answers.Grader`, never imported by it, so that sympy stays out of the main process. The kernel ends this
process when one request takes too much CPU time or memory; the caller sees the pipe close.
"""

import contextlib
import json
import logging
import os
import re
import resource
import signal
import sys
from fractions import Fraction
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from sympy import Basic, Derivative, FiniteSet, Float, Interval, Symbol, Tuple

RELATIVE_TOLERANCE = 1e-5  # numbers that agree to 6 decimals must also agree to this: else all tiny numbers would be equal
FLOAT_NOISE = 1e-12  # numbers this near are equal at any size: 6.02 \times 10^{23} is 602000000000000000000000
MEMORY_BYTES = 4 << 30

# The box alone: where it cannot be parsed, math-verify would else take the last fraction or number in it for the answer.
_BOX_ONLY = (LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0),)

_E_NOTATION = re.compile(r"(?<![A-Za-z\\\d.])(\d+\.?\d*|\.\d+)[eE]([+-]?\d+)(?![\d.A-Za-z^_{])")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\overline\{(\d+)\}")
_UNITS = r"(?:\\(?:text|mbox|mathrm)\{[^{}]*\}(?:\^\{?-?\d+\}?)?(?:[\s/~]|\\cdot|\\,|\\ )*)+"  # \mathrm{~m} / \mathrm{s}^{2}
_REWRITES = (
    (re.compile(r"×"), r"\\times "),
    (re.compile(r"\bnp\.(\w+)"), r"\\\1"),  # np.arcsin(10/13)
    (re.compile(r"(?<=\d)(?:\\[,;:! ]|~)(?=\d{3}(?!\d))"), ""),  # 10\,000
    (re.compile(r"(?<=\d)\.(?=\s*(?:[/*+)\-]|$))"), ""),  # -1./3, 12.
    (re.compile(r"(?<![\d./])(\d+) +(\d+)/(\d+)(?![\d./])"), r"\1\\frac{\2}{\3}"),  # 3 1/2
    (re.compile(r"^\\(?:text|mbox|mathrm)\{\s*(-?[\d.,]+)\s+[A-Za-z ]+\}$"), r"\1"),  # \text{3 apples}
    (re.compile(r"(?<![\\A-Za-z])([Ee])(?=\s*_)"), r"\\mathcal{\1}"),  # E_{1} is not Euler's number
    # Text within a formula: math-verify takes all from the first \text{ to a closing brace at the end for a unit. A space stops it.
    (re.compile(rf"(?!{_UNITS}$)\\(text|mbox|mathrm)\{{(?!\s*(?:and|or)\s*\}})"), r"\\\1 {"),
    (re.compile(r"_(?:\{\s*\\([A-Za-z]+)\s*\}|\\([A-Za-z]+)\b(?!\s*\{))"), r"_{\1\2}"),  # M_{\odot}, m_{\max }
)
_LIST_COMMA = re.compile(r",(?=[^\s!])")
_BASE = re.compile(r"\d_\{?(\d+)\}?$")


def repair(text: str) -> str:
    """Rewrite what math-verify misreads: e-notation, repeating decimals, `np.`, bare trailing points, mixed numbers, `$` inside."""
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
    """Return what math-verify makes of an answer: an expression where it can, and the normalised string."""
    found = parse(rf"\boxed{{{repair(text)}}}", _BOX_ONLY, parsing_timeout=None)  # type: ignore[arg-type]
    return tuple(_without_derivatives(each) for each in found)


def _without_derivatives(parsed_item: Any) -> Any:
    """Replace dx/dt by a symbol: sympy knows no dependence of x on t and would work it out to 0."""
    if not isinstance(parsed_item, Basic):
        return parsed_item
    return parsed_item.xreplace({each: Symbol(f"D{each.args}") for each in parsed_item.atoms(Derivative)})


def judge(gold: str, answer: str) -> bool:
    """Say whether `answer` equals `gold` in value or form."""
    if ", " in gold:
        answer = _LIST_COMMA.sub(", ", answer)  # beside a list, 10,100 is a list and not 10100
    golds, answers = list(parsed(gold)), list(parsed(answer))
    if not golds or not answers or _differ_in_base(gold, answer):
        return False
    if isinstance(golds[0], Interval) and golds[0].is_open and isinstance(answers[0], FiniteSet | Tuple):
        golds[0] = Tuple(golds[0].start, golds[0].end)  # (1, 2) is read as an interval; beside 2, 1 it is a pair, and ordered
    agrees = verify(golds, answers, allow_set_relation_comp=True, timeout_seconds=None)
    gap = None if "%" in gold + answer else _relative_gap(golds[0], answers[0])
    if gap is None:
        return agrees
    return gap <= RELATIVE_TOLERANCE if agrees else gap <= FLOAT_NOISE


def same(a: str, b: str) -> bool:
    """Say whether two answers are equal whichever of them is taken for the gold one."""
    return judge(a, b) and judge(b, a)


def _differ_in_base(gold: str, answer: str) -> bool:
    """Say whether both name a number base (`11_2`), and not the same."""
    bases = [_BASE.search(text.strip().strip("$")) for text in (gold, answer)]
    return bases[0] is not None and bases[1] is not None and bases[0][1] != bases[1][1]


def _relative_gap(a: Any, b: Any) -> float | None:
    """Return |a - b| over the larger, where both are numbers and one is a decimal; exact numbers need no tolerance."""
    if not (isinstance(a, Basic) and isinstance(b, Basic) and (a.has(Float) or b.has(Float))):
        return None
    try:
        if not (a.is_number and b.is_number):  # type: ignore[attr-defined]
            return None
        a, b = a.doit().evalf(30), b.doit().evalf(30)  # type: ignore[attr-defined]
        larger = max(abs(a), abs(b))
        return float(abs(a - b) / larger) if larger else 0.0
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None


def main() -> None:
    """Answer requests `[kind, a, b]` with true or false until the input ends. The argument is the limit in CPU seconds each."""
    seconds = float(sys.argv[1])
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not pass for a reply
    with contextlib.suppress(ValueError, OSError):  # not every system lets a process lower it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # CPU time, not wall time: a busy machine must not turn right answers into unjudged ones. The default action ends the process,
    # also inside C code that no Python handler could interrupt.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    replies.write("ready\n")
    for line in sys.stdin:
        kind, a, b = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        verdict = judge(a, b) if kind == "judge" else same(a, b)
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(json.dumps(bool(verdict)) + "\n")


if __name__ == "__main__":
    main()
