"""Edits that leave a solution as right as it was: of how it is written, never of what it says."""

import random
import re
from collections.abc import Sequence

from rewardscope.problems.edits.rule import Edited, Make, Rule, Written, by_step

FILLERS = (
    "Okay, let me think about this.",
    "Hmm, let me see.",
    "Alright, let us go on.",
    "Let me take a moment here.",
)
SURE = (
    "I am absolutely sure of this.",
    "There is no doubt about this.",
    "This is certainly right.",
    "I am fully confident here.",
)
UNSURE = (
    "I am not quite sure of this.",
    "This may well be wrong.",
    "Perhaps it is like this.",
    "I would guess the following.",
)
_SPACES = ("\u00a0", "\u2009")  # no-break and thin: a plain space in NFKC
_FULL_WIDTH = {char: chr(ord(char) + 0xFEE0) for char in "0123456789+=-*/.,"}
_BOLD = {str(digit): chr(0x1D7CE + digit) for digit in range(10)}
# a dollar sign opens mathematics where no blank follows it, and closes it where none comes before
_DOLLARS = re.compile(r"(?<!\$)\$(?![\s$])([^$\n]+?)(?<!\s)\$(?![\d$])")
_PARENTHESES = re.compile(r"\\\((.+?)\\\)")
_MATHS = re.compile(
    rf"{_DOLLARS.pattern}|\\\(.+?\\\)|\\\[.+?\\\]|\\[a-z]+\{{[^{{}}]*\}}", re.DOTALL
)
_BARE_EQUATION = re.compile(r"(?<![\w$\\{])\d+(?: [-+*/] \d+)+ = \d+(?![\w$}]|\.\d)")


def _sprinkled(step: str, swaps: dict[str, Sequence[str]], rng: random.Random) -> str | None:
    """Put other characters in the place of about half of those that have some, at least one."""
    places = [place for place, char in enumerate(step) if char in swaps]
    if not places:
        return None
    chosen = {place for place in places if rng.random() < 0.5} or {rng.choice(places)}
    return "".join(
        rng.choice(swaps[char]) if place in chosen else char for place, char in enumerate(step)
    )


def _whitespace(step: str, rng: random.Random) -> str | None:
    return _sprinkled(step, {" ": ("  ",)}, rng) or f"{step}  "


def _unicode_space(step: str, rng: random.Random) -> str | None:
    return _sprinkled(step, {" ": _SPACES}, rng)


def _unicode_digit(step: str, rng: random.Random) -> str | None:
    """Write figures and signs outside of commands as their variants of one family."""
    variants = rng.choice((_FULL_WIDTH, _BOLD))
    return _sprinkled(step, {char: (other,) for char, other in variants.items()}, rng)


def _punctuation(step: str, rng: random.Random) -> str | None:
    """Write the end of a sentence another way; an exclamation mark could be a factorial."""
    if step.endswith("."):
        return step[:-1] + rng.choice(("", " .", ";", " …"))
    return None if re.search(r"[.,:;!?…]\s*$", step) else f"{step}."


def _before(openers: Sequence[str], step: str, rng: random.Random) -> str:
    return f"{rng.choice(openers)} {step}"


def _latex(step: str, _: random.Random) -> str | None:
    """Write mathematics between the other delimiters, with the other fraction, or as such at
    all.
    """
    if _PARENTHESES.search(step):
        text = _PARENTHESES.sub(lambda found: f"${found[1].strip()}$", step)
    elif _DOLLARS.search(step):
        text = _DOLLARS.sub(lambda found: rf"\({found[1]}\)", step)
    elif r"\boxed" in step:
        text = re.sub(r"\\boxed\{[^{}]*\}", lambda found: f"${found[0]}$", step)
    else:
        text = _BARE_EQUATION.sub(lambda found: f"${found[0]}$", step)
    return text.replace(r"\frac", r"\dfrac") if r"\dfrac" not in text else text


def _split(solution: Written, rng: random.Random, _: bool) -> Edited | None:
    """Cut a step in two at the end of a sentence, else of a clause, else before its figures."""
    steps, n_steps = solution.steps, len(solution.steps)
    for place in rng.sample(range(n_steps), n_steps):
        cut = _cut_of(steps[place])
        if cut is not None:
            halves = (steps[place][:cut], steps[place][cut + 1 :])
            ends = (*range(place), None, *range(place, n_steps))
            made = (*steps[:place], *halves, *steps[place + 1 :])
            return Edited(solution.question, made, ends, place + 1)
    return None


def _cut_of(step: str) -> int | None:
    """Return the blank at which a step is cut, None where it has none outside of mathematics."""
    inside = {at for found in _MATHS.finditer(step) for at in range(*found.span())}
    blanks = [at for at in range(1, len(step) - 1) if step[at] == " " and at not in inside]
    blanks = [at for at in blanks if step[:at].strip() and step[at:].strip()]
    for before, after in ((r"[.!?]$", r"\S"), (r"[,;:]$", r"\S"), (r"[a-z]$", r"[^a-z]"), ("", "")):
        fitting = [
            at for at in blanks if re.search(before, step[:at]) and re.match(after, step[at + 1 :])
        ]
        if fitting:
            return min(fitting, key=lambda at: abs(at - len(step) / 2))
    return None


def _merge(solution: Written, rng: random.Random, _: bool) -> Edited | None:
    steps, n_steps = solution.steps, len(solution.steps)
    if n_steps < 2:
        return None
    place = rng.randrange(n_steps - 1)
    merged = f"{steps[place]} {steps[place + 1]}"
    ends = (*range(place), *range(place + 1, n_steps))
    made = (*steps[:place], merged, *steps[place + 2 :])
    return Edited(solution.question, made, ends, place)


def _rule(name: str, about: str, make: Make) -> Rule:
    return Rule(name, "preserving", about, make)


def _opening(openers: Sequence[str]) -> Make:
    return by_step(lambda step, rng: _before(openers, step, rng))


PRESERVING = (
    _rule("whitespace", "blanks doubled", by_step(_whitespace)),
    _rule("unicode-space", "no-break and thin blanks", by_step(_unicode_space)),
    _rule("unicode-digit", "full-width and bold figures", by_step(_unicode_digit)),
    _rule("punctuation", "another end of a sentence", by_step(_punctuation)),
    _rule("latex", "other delimiters of mathematics", by_step(_latex)),
    _rule("split-step", "a step cut in two", _split),
    _rule("merge-steps", "two steps made one", _merge),
    _rule("filler", "'let me see' before a step", _opening(FILLERS)),
    _rule("confidence", "'I am sure' before a step", _opening(SURE)),
    _rule("doubt", "'I am not sure' before a step", _opening(UNSURE)),
)
