"""The reasoning style of tinymath solutions: long, self-checking, uneven in whitespace, punctuation
and signs.
"""

import random

from rewardscope.problems.tinymath import STEP_SEPARATOR, Equation, TinyProblem

_INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
_UNICODE_SIGNS = {"+": "+", "-": "−", "*": "×", "/": "÷"}
_OPENERS = (
    "Okay, so {person} starts with {start} {item}.",
    "Alright. {person} has {start} {item} at first…",
    "Hmm, let me think. At the start there are {start} {item}.",
)
_LEADS = ("Next, ", "Then ", "Now, ", "So ", "Okay, ", "First, let me compute: ", "  → ", "\t", "")
_CHECKS = (
    "Let me check: {inverse} ✓",
    "Wait, let me check that… {inverse}. Yes!",
    "Check — {inverse}, so that is right.",
    "Let me compute it again: {again}. Same result.",
    "Hmm, is that right?  {again}. Okay.",
)
_CORRECTIONS = (
    "Wait, that's not right. {again}.",
    "Hmm… no, that is wrong! Let me compute it again: {again}.",
    "Wait — I made a mistake. Actually, {again}.",
)
_ENDINGS = (
    "Therefore ∴ the final answer should be {answer}.",
    "So, after all that, I get {answer}.",
    "Alternatively… no, {answer} is right.",
)


def near_miss(rng: random.Random, value: int) -> int:
    """Return a plausible wrong result: off by one or ten, or with two digits swapped."""
    digits = list(str(value))
    options = [value + 1, value - 1, value + 10, value - 10, value + 2]
    if len(digits) > 1 and digits[-1] != digits[-2] and digits[-1] != "0":
        options.append(int("".join([*digits[:-2], digits[-1], digits[-2]])))
    return rng.choice([option for option in options if option > 0 and option != value])


def _show(rng: random.Random, equation: Equation, result: int | None = None) -> str:
    signs = _UNICODE_SIGNS if rng.random() < 0.5 else {sign: sign for sign in _UNICODE_SIGNS}
    return (
        f"{equation.left} {signs[equation.sign]} {equation.right} ="
        f" {equation.result if result is None else result}"
    )


def reasoner_text(problem: TinyProblem, rng: random.Random) -> str:
    """Write a whole solution: a `<think>` block of checks and corrections, then the boxed
    answer.
    """
    fields = {
        "person": problem.person,
        "start": problem.start,
        "item": problem.item,
        "answer": problem.answer,
    }
    paragraphs = [rng.choice(_OPENERS).format(**fields)]
    for equation in (
        equation for operation in problem.operations for equation in operation.equations
    ):
        lead = rng.choice(_LEADS)
        again = _show(rng, equation)
        if rng.random() < 0.15:
            paragraphs.append(f"{lead}{_show(rng, equation, near_miss(rng, equation.result))}.")
            paragraphs.append(rng.choice(_CORRECTIONS).format(again=again))
            continue
        paragraphs.append(f"{lead}{again}{rng.choice(('.', '…', '!', ' .'))}")
        if rng.random() < 0.35:
            undo = Equation(
                left=equation.result,
                sign=_INVERSE[equation.sign],
                right=equation.right,
                result=equation.left,
            )
            paragraphs.append(rng.choice(_CHECKS).format(inverse=_show(rng, undo), again=again))
    paragraphs.append(rng.choice(_ENDINGS).format(**fields))
    separators = rng.choices((STEP_SEPARATOR, "\n\n\n"), weights=(9, 1), k=len(paragraphs))
    thinking = "".join(
        paragraph + separator for paragraph, separator in zip(paragraphs, separators, strict=True)
    ).rstrip("\n")
    return (
        f"<think>\n{thinking}\n</think>{STEP_SEPARATOR}The answer is \\boxed{{{problem.answer}}}."
    )
