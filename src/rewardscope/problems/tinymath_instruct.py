"""The instruct style of tinymath solutions, a short step an equation, and a judge of its steps."""

import random
import re

from rewardscope.problems.tinymath import TinyProblem

_NUMBER_OR_SIGN = re.compile(r"\d+|[-+*/=]")


_INSTRUCT_PHRASES = {
    "+": ("Adding gives {e}.", "Now {person} has {e}.", "The new total is {e}."),
    "-": ("Taking away gives {e}.", "Now {person} has {e}.", "What is left is {e}."),
    "*": ("Multiplying gives {e}.", "That is {e}.", "The product is {e}."),
    "/": ("Dividing gives {e}.", "Each part has {e}.", "One share is {e}."),
}


def instruct_steps(problem: TinyProblem, rng: random.Random) -> list[str]:
    """Write the solution in the instruct style: the start, one short step per equation, the boxed
    answer.
    """
    steps = [
        rng.choice(
            (
                f"{problem.person} starts with {problem.start} {problem.item}.",
                f"At first there are {problem.start} {problem.item}.",
            )
        )
    ]
    for operation in problem.operations:
        for equation in operation.equations:
            steps.append(
                rng.choice(_INSTRUCT_PHRASES[equation.sign]).format(
                    e=equation, item=problem.item, person=problem.person
                )
            )
    answer = rf"\boxed{{{problem.answer}}}"
    steps.append(
        rng.choice(
            (f"The answer is {answer}.", f"So {problem.person} has {answer} {problem.item}.")
        )
    )
    return steps


def judge_steps(problem: TinyProblem, steps: list[str]) -> list[bool]:
    """Say for each instruct-style step whether it and all steps before it are right.

    A step is right when its numbers and signs are those of the true solution at its place; the
    wording is free.
    """
    truth = _truth(problem)
    verdicts, so_far = [], True
    for index, step in enumerate(steps):
        so_far = (
            so_far and index < len(truth) and tuple(_NUMBER_OR_SIGN.findall(step)) == truth[index]
        )
        so_far = so_far and (r"\boxed" in step) == (index == len(truth) - 1)
        verdicts.append(so_far)
    return verdicts


def first_mistake(problem: TinyProblem, index: int, step: str) -> tuple[int, int]:
    """Return where in the text of step `index` its first wrong number or sign starts and ends; its
    whole end where none is.
    """
    truth = _truth(problem)
    expected = truth[index] if index < len(truth) else ()
    found = list(_NUMBER_OR_SIGN.finditer(step))
    for place, match in enumerate(found):
        if place >= len(expected) or match[0] != expected[place]:
            return match.span()
    return len(step), len(step)


def _truth(problem: TinyProblem) -> list[tuple[str, ...]]:
    """Return the numbers and signs of each step of the true solution."""
    truth: list[tuple[str, ...]] = [(str(problem.start),)]
    truth += [
        tuple(_NUMBER_OR_SIGN.findall(str(e))) for op in problem.operations for e in op.equations
    ]
    return [*truth, (str(problem.answer),)]
