"""Edits that break a solution: from the edited step on it is not right any more."""

import random
import re

from rewardscope.problems.edits.rule import Edited, Make, Rule, Written, by_step
from rewardscope.problems.tinymath_reasoner import near_miss

_NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\d,]*\d)")
_LABEL = re.compile(r"\s*(?:(?:step\s*)?\d+[.:)])\s", re.IGNORECASE)  # as in `Step 3.`
_SIGN = re.compile(
    r"(?P<left>\d[\d,.]*)(?P<before>\s*)(?P<sign>[-+*/×÷−]|\\times|\\cdot|\\div)(?P<after>\s*)"
    r"(?P<right>\d[\d,.]*)(?=.*=)",
    re.DOTALL,
)
_MEANING = {"−": "-", "×": "*", r"\times": "*", r"\cdot": "*", "÷": "/", r"\div": "/"}


def _wrong_number(step: str, rng: random.Random) -> str | None:
    """Change the last number of a step, which is what it comes to."""
    label = _LABEL.match(step)
    numbers = list(_NUMBER.finditer(step, label.end() if label else 0))
    if not numbers:
        return None
    last = numbers[-1]
    return step[: last.start()] + _another(last[0], rng) + step[last.end() :]


def _another(number: str, rng: random.Random) -> str:
    """Return a number that is not the same: near a whole one, else with another last figure."""
    if number.isdigit():
        return str(near_miss(rng, int(number)))
    return number[:-1] + rng.choice([figure for figure in "123456789" if figure != number[-1]])


def _wrong_operator(step: str, rng: random.Random) -> str | None:
    """Change a sign of an equation between two numbers that give something else with it."""
    found = list(_SIGN.finditer(step))
    if not found:
        return None
    one = rng.choice(found)
    meaning = _MEANING.get(one["sign"], one["sign"])
    before = _value(one["left"], meaning, one["right"])
    others = [
        sign
        for sign in "+-*/"
        if sign != meaning and _value(one["left"], sign, one["right"]) != before
    ]
    sign = rng.choice(others)
    return step[: one.start("sign")] + sign + step[one.end("sign") :]


def _value(left: str, sign: str, right: str) -> float | None:
    """Return what two numbers give, None where that is nothing."""
    try:
        a, b = (float(text.replace(",", "").rstrip(".")) for text in (left, right))
    except ValueError:
        return None
    if sign == "/":
        return a / b if b else None
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def _dropped_step(solution: Written, rng: random.Random, _: bool) -> Edited | None:
    """Leave a step out that is the first to give a number which a later one needs."""
    steps, n_steps = solution.steps, len(solution.steps)
    numbers = [set(_NUMBER.findall(step)) for step in steps]
    known = set(_NUMBER.findall(solution.question))
    needed = []
    for place in range(n_steps - 1):
        if (numbers[place] - known) & set().union(*numbers[place + 1 :]):
            needed.append(place)
        known |= numbers[place]
    if not needed:
        return None
    place = rng.choice(needed)
    ends = (*range(place), *range(place + 1, n_steps))
    return Edited(solution.question, (*steps[:place], *steps[place + 1 :]), ends, place)


def _other_question(solution: Written, _: random.Random, __: bool) -> Edited | None:
    if solution.other_question in (None, solution.question):
        return None
    assert solution.other_question is not None
    return Edited(solution.other_question, solution.steps, tuple(range(len(solution.steps))), 0)


def _rule(name: str, about: str, make: Make) -> Rule:
    return Rule(name, "changing", about, make)


CHANGING = (
    _rule("wrong-number", "another result", by_step(_wrong_number, may_be_all=False)),
    _rule("wrong-operator", "another sign", by_step(_wrong_operator, may_be_all=False)),
    _rule("dropped-step", "a step left out that a later one needs", _dropped_step),
    _rule("other-question", "the question of another problem", _other_question),
)
