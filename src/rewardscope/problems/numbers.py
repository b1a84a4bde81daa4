"""Compare sympy numbers: exact ones exactly, rounded ones within a tolerance; measure gaps."""

import math
from typing import Any

from sympy import (
    Basic,
    Eq,
    FiniteSet,
    Float,
    Interval,
    MatrixBase,
    Rational,
    Symbol,
    Tuple,
    simplify,
)
from sympy.core.evalf import PrecisionExhausted

DIGITS = 60  # to which numbers are worked out before anything is simplified
CERTAIN_DIGITS = 50  # numbers that differ within these are different
MOST_DIGITS = 3000  # numbers that agree to as many are equal
# numbers that agree to 6 decimals must also agree to this: else all tiny numbers would be equal
RELATIVE_TOLERANCE = 1e-5
# numbers this near are equal at any size: 6.02 \times 10^{23} is 602000000000000000000000
FLOAT_NOISE = 1e-12


def is_number(value: Any) -> bool:
    """Say whether a value is a number, real or complex."""
    return isinstance(value, Basic) and bool(getattr(value, "is_number", False))


def is_exact(value: Any) -> bool:
    """Say whether a value is a number with no rounded part."""
    return is_number(value) and not value.has(Float)


def exactly_equal(a: Any, b: Any) -> bool:
    """Say whether two exact numbers are equal, however near they are."""
    a, b = a.doit(), b.doit()
    if a == b:
        return True
    if (a.is_Rational and b.is_Rational) or a.is_infinite or b.is_infinite:
        return False
    x, y = a.evalf(DIGITS), b.evalf(DIGITS)
    if abs(x - y) > abs(x) * Rational(1, 10**CERTAIN_DIGITS):
        return False
    difference = simplify(a - b)
    if difference == 0:
        return True
    try:
        difference.evalf(5, maxn=MOST_DIGITS, strict=True)
    except PrecisionExhausted:
        return True  # 0 to as many digits
    return False


def members(value: Any) -> tuple[str, list[Any]] | None:
    """Return what a container is compared by, its kind and shape, and its members in the order they
    were written; None for anything else.
    """
    if isinstance(value, FiniteSet):
        return "set", list(getattr(value, "_unsorted_args", value.args))
    if isinstance(value, Tuple):
        return f"tuple {len(value)}", list(value)
    if isinstance(value, Interval):
        return f"interval {value.left_open} {value.right_open}", [value.start, value.end]
    if isinstance(value, MatrixBase):
        return f"matrix {value.shape}", list(value.flat())
    return None


def exact_verdict(a: Any, b: Any) -> bool | None:
    """Compare exact numbers, and containers of nothing else; None where there is anything else."""
    if is_exact(a) and is_exact(b):
        return exactly_equal(a, b)
    found = members(a), members(b)
    if found[0] is None or found[1] is None or found[0][0] != found[1][0]:
        return None
    kind, first, second = found[0][0], found[0][1], found[1][1]
    if not all(is_exact(each) for each in (*first, *second)):
        return None
    if kind == "set":
        return all(
            any(exactly_equal(each, other) for other in others)
            for these, others in ((first, second), (second, first))
            for each in these
        )
    return len(first) == len(second) and all(map(exactly_equal, first, second))


def largest_gap(a: Any, b: Any, *, relative: bool) -> tuple[float, bool] | None:
    """Return the largest gap of the numbers that correspond in two answers of one shape, and
    whether all that differ are whole; None where anything else differs.
    """
    if isinstance(a, Eq) and isinstance(b, Eq) and a.lhs != b.lhs:
        return None
    a, b = _value(a), _value(b)
    found = members(a), members(b)
    if found[0] is None or found[1] is None or found[0][0] != found[1][0]:
        return (0.0, False) if a == b else _gap(a, b, relative=relative)
    first, second = (
        _ascending(values) if kind == "set" else values
        for kind, values in found  # type: ignore[misc]
    )
    if len(first) != len(second):
        return None
    gaps = [largest_gap(x, y, relative=relative) for x, y in zip(first, second, strict=True)]
    if None in gaps:
        return None
    off = [gap for gap in gaps if gap and gap[0]]
    return max((gap for gap, _ in off), default=0.0), bool(off) and all(whole for _, whole in off)


def _value(item: Any) -> Any:
    """Return what an equation says its symbol is: 5 for x = 5."""
    return item.rhs if isinstance(item, Eq) and isinstance(item.lhs, Symbol) else item


def _ascending(items: list[Any]) -> list[Any]:
    """Return real numbers in order, each once, and anything else as it stands."""
    if not all(is_number(item) and item.is_extended_real for item in items):
        return items
    return sorted(dict.fromkeys(items), key=float)


def _gap(a: Any, b: Any, *, relative: bool) -> tuple[float, bool] | None:
    """Return |a - b|, or its share of the larger, where both are numbers; and whether both are
    whole.
    """
    if not (is_number(a) and is_number(b)):
        return None
    try:
        whole = bool(a.doit().is_Integer and b.doit().is_Integer)
        a, b = a.doit().evalf(30), b.doit().evalf(30)
        larger = max(abs(a), abs(b)) if relative else 1
        gap = float(abs(a - b) / larger) if larger else 0.0
        return (gap, whole) if math.isfinite(gap) else None
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None
