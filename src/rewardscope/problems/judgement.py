"""What grading finds, and answers that need no algebra: plain numbers, equal texts."""

import re
from decimal import Decimal
from typing import Literal, NamedTuple, get_args

_INTEGER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)")
_DECIMAL = re.compile(r"[+-]?\d*\.\d+")
_DECIMAL_LENGTH = 18  # rounding a longer one needs more than Decimal's 28 digits
_SIX_PLACES = Decimal("1e-6")
_RELATIVE_TOLERANCE = Decimal("1e-5")  # as in equality.py

Grading = Literal["strict", "rel1e-4", "rel1e-2"]
GRADINGS: tuple[Grading, ...] = get_args(Grading)
_ALLOWED_GAP: dict[Grading, float] = {"rel1e-4": 1e-4, "rel1e-2": 1e-2}


class Judgement(NamedTuple):
    """What the grader found."""

    correct: bool | None
    """The strict verdict; None: unparsed, so that nothing is known."""
    gap: float | None = None
    """The largest relative difference of the numbers that correspond, None where anything else
    differs.
    """
    whole: bool = False
    """Whether the numbers that differ are whole."""
    gold_read: bool = True
    """Whether the gold answer could be read as an expression or as words."""

    def verdict(self, grading: Grading) -> bool | None:
        """Return the verdict in one mode: right where strictly right, or where all numbers are as
        near as the mode allows.

        A whole number is never nearly right in `rel1e-4`: 9999 is not 10000.
        """
        if grading == "strict" or self.gap is None or (self.whole and grading == "rel1e-4"):
            return self.correct
        return True if self.gap <= _ALLOWED_GAP[grading] else self.correct


UNPARSED = Judgement(None)


def quick_judgement(gold: str, answer: str, tolerance: float | None) -> Judgement | None:
    """Compare two answers where no algebra is needed: equal strings and plain numbers; None where
    it is.

    Whole numbers compare exactly. Beside a decimal, both rounded to 6 places and a relative 1e-5
    must agree.
    """
    a, b = _tidy(gold), _tidy(answer)
    if a == b:
        return Judgement(True, 0.0) if a else UNPARSED
    numbers = [_INTEGER.fullmatch(text) or _DECIMAL.fullmatch(text) for text in (a, b)]
    if None in numbers:
        return None
    x, y = (Decimal(text.replace(",", "")) for text in (a, b))
    off, larger = abs(x - y), max(abs(x), abs(y))
    if "." not in a + b:
        right = x == y
    elif max(len(a), len(b)) > _DECIMAL_LENGTH:
        return None
    else:
        right = (
            x.quantize(_SIX_PLACES) == y.quantize(_SIX_PLACES)
            and off <= larger * _RELATIVE_TOLERANCE
        )
    if tolerance is not None:
        right = right or off <= Decimal(str(tolerance))
    whole = "." not in a + b
    return Judgement(right, 0.0) if right else Judgement(False, float(off / larger), whole)


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > 1 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    return text.removesuffix(".").strip()
