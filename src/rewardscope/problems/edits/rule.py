"""What a rule that edits a solution takes and gives."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["preserving", "changing"]
"""Whether the edited solution is as right as it was, or is not right any more."""


class Written(NamedTuple):
    """A right solution, or the right beginning of one."""

    question: str
    steps: tuple[str, ...]
    other_question: str | None = None
    """The question of another problem, where one is known."""


class Edited(NamedTuple):
    """A solution after an edit."""

    question: str
    steps: tuple[str, ...]
    ends: tuple[int | None, ...]
    """Of each step the original step at whose end it ends; None where it ends at none."""
    at: int
    """The first step that shows the edit and ends where an original one does."""


Make = Callable[[Written, random.Random, bool], Edited | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to edit a solution; what it makes depends on the solution and the seed alone."""

    name: str
    kind: Kind
    about: str
    """What it does, in a few words."""
    make: Make

    def apply(self, solution: Written, *, seed: int, every: bool = False) -> Edited | None:
        """Return the edited solution, None where the rule does not apply.

        One step is edited; with `every`, rules of wording edit all steps that they can.
        """
        text = "\n".join((solution.question, *solution.steps))
        edited = self.make(solution, random.Random(f"{self.name}|{seed}|{text}"), every)
        if edited is not None:
            assert len(edited.ends) == len(edited.steps), (self.name, edited)
            assert edited.ends[edited.at] is not None, (self.name, edited)
        return edited


def by_step(change: Callable[[str, random.Random], str | None], *, may_be_all: bool = True) -> Make:
    """Return an edit that changes the text of a step where `change` gives another one: the first
    of a random order, or all.
    """

    def make(solution: Written, rng: random.Random, every: bool) -> Edited | None:
        order = rng.sample(range(len(solution.steps)), len(solution.steps))
        steps, changed = list(solution.steps), []
        for place in order:
            text = change(steps[place], rng)
            if text is not None and text != steps[place]:
                steps[place] = text
                changed.append(place)
                if not (every and may_be_all):
                    break
        if not changed:
            return None
        return Edited(solution.question, tuple(steps), tuple(range(len(steps))), min(changed))

    return make
