"""tinymath: multi-step arithmetic word problems.

A problem is a chain of operations on one running quantity. The chain is the ground truth, so every
step of a solution in the instruct style can be judged right or wrong without a grader model. The
two styles of solutions are in tinymath_instruct.py and tinymath_reasoner.py.
"""

import hashlib
import random
from dataclasses import dataclass, replace

from rewardscope.errors import UnknownName
from rewardscope.records import Problem

LEVELS = {1: 2, 2: 3, 3: 4, 4: 5, 5: 6}  # level -> number of operations
MAX_VALUE = 999
STEP_SEPARATOR = "\n\n"
SPLITS = ("train", "test")

PEOPLE = (
    ("Tom", "He"),
    ("Lena", "She"),
    ("Max", "He"),
    ("Nina", "She"),
    ("Omar", "He"),
    ("Sara", "She"),
    ("Ben", "He"),
    ("Mia", "She"),
    ("Ivan", "He"),
    ("Zoe", "She"),
    ("Raj", "He"),
    ("Ada", "She"),
)
ITEMS = (
    "apples",
    "books",
    "coins",
    "stamps",
    "marbles",
    "pencils",
    "cards",
    "shells",
    "stickers",
    "beads",
    "cookies",
    "stones",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """One arithmetic fact, `left sign right = result`."""

    left: int
    sign: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {self.right} = {self.result}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A sentence of the story and the equations that solve it, in order."""

    kind: str
    sentence: str
    equations: tuple[Equation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyProblem:
    """A word problem with the chain that made it."""

    person: str
    item: str
    start: int
    operations: tuple[Operation, ...]
    question: str

    @property
    def answer(self) -> int:
        return self.operations[-1].equations[-1].result

    @property
    def signature(self) -> str:
        """Identify the arithmetic, whatever the names: two problems with one signature count as the
        same problem.
        """
        return ";".join(
            [str(self.start), *(str(e) for op in self.operations for e in op.equations)]
        )

    @property
    def split(self) -> str:
        """Return "test" for one signature in sixteen, else "train"; a hash decides, so the splits
        cannot overlap.
        """
        return "test" if hashlib.sha256(self.signature.encode()).digest()[0] % 16 == 0 else "train"


def _operation(
    rng: random.Random, kind: str, value: int, item: str, pronoun: str, friend: str
) -> Operation | None:
    """Make one operation on `value`, or None where `kind` does not apply to it."""
    if kind == "gain":
        k = rng.randint(2, 99)
        sentence = rng.choice(
            (
                f"{pronoun} buys {k} more.",
                f"{pronoun} finds {k} more.",
                f"{friend} brings {k} more {item}.",
            )
        )
        equations = (Equation(left=value, sign="+", right=k, result=value + k),)
    elif kind == "lose":
        if value < 8:
            return None
        k = rng.randint(2, min(99, value - 2))
        sentence = rng.choice(
            (
                f"{pronoun} gives {k} to {friend}.",
                f"{pronoun} loses {k} of them.",
                f"{pronoun} sells {k} {item}.",
            )
        )
        equations = (Equation(left=value, sign="-", right=k, result=value - k),)
    elif kind == "times":
        k = rng.randint(2, 4)
        word = {2: "doubles", 3: "triples", 4: "quadruples"}[k]
        sentence = f"Then the number of {item} {word}."
        equations = (Equation(left=value, sign="*", right=k, result=value * k),)
    elif kind == "share":
        divisors = [d for d in (2, 3, 4, 5) if value % d == 0 and value // d > 1]
        if not divisors:
            return None
        k = rng.choice(divisors)
        sentence = rng.choice(
            (
                f"{pronoun} splits them into {k} equal bags and keeps one bag.",
                f"{pronoun} keeps one of {k} equal parts.",
            )
        )
        equations = (Equation(left=value, sign="/", right=k, result=value // k),)
    else:
        m, k = rng.randint(2, 9), rng.randint(2, 12)
        sentence = rng.choice(
            (
                f"{pronoun} buys {m} boxes with {k} {item} each.",
                f"{friend} brings {m} bags of {k} {item}.",
            )
        )
        equations = (
            Equation(left=m, sign="*", right=k, result=m * k),
            Equation(left=value, sign="+", right=m * k, result=value + m * k),
        )
    if not 1 < equations[-1].result <= MAX_VALUE:
        return None
    return Operation(kind=kind, sentence=sentence, equations=equations)


def make_problem(rng: random.Random, *, level: int) -> TinyProblem:
    """Draw one problem of a level (1 to 5: two to six operations) from `rng`."""
    if level not in LEVELS:
        raise UnknownName("tinymath level", str(level), [str(known) for known in LEVELS])
    (person, pronoun), (friend, _) = rng.sample(PEOPLE, 2)
    item = rng.choice(ITEMS)
    start = value = rng.randint(5, 99)
    operations: list[Operation] = []
    while len(operations) < LEVELS[level]:
        kind = rng.choice(("gain", "gain", "lose", "lose", "pack", "times", "share"))
        operation = _operation(rng, kind, value, item, pronoun, friend)
        if operation is not None:
            operations.append(operation)
            value = operation.equations[-1].result
    story = " ".join([f"{person} has {start} {item}.", *(op.sentence for op in operations)])
    ending = rng.choice(
        (
            f"How many {item} does {person} have now?",
            f"How many {item} does {person} have in the end?",
        )
    )
    return TinyProblem(
        person=person,
        item=item,
        start=start,
        operations=tuple(operations),
        question=f"{story} {ending}",
    )


def make_problems(
    n: int, *, split: str, seed: int, levels: tuple[int, ...] = tuple(LEVELS)
) -> list[TinyProblem]:
    """Draw `n` problems of a split, levels in turn, no signature twice."""
    if split not in SPLITS:
        raise UnknownName("tinymath split", split, SPLITS)
    rng, seen, problems = random.Random(f"tinymath-{split}-{seed}"), set(), []
    while len(problems) < n:
        problem = make_problem(rng, level=levels[len(problems) % len(levels)])
        if problem.split == split and problem.signature not in seen:
            seen.add(problem.signature)
            problems.append(problem)
    return problems


def load_tinymath(n: int = 500) -> list[Problem]:
    """Return the first `n` test problems; the set is the same on every machine."""
    return [
        Problem(
            id=f"tinymath/{index}",
            dataset="tinymath",
            question=problem.question,
            answer=str(problem.answer),
        )
        for index, problem in enumerate(make_problems(n, split="test", seed=0))
    ]


def with_equations(problem: TinyProblem, equations: list[Equation]) -> TinyProblem:
    """Return the problem with its chain replaced, equation for equation; its question stays as it
    was.
    """
    left = iter(equations)
    operations = tuple(
        replace(operation, equations=tuple(next(left) for _ in operation.equations))
        for operation in problem.operations
    )
    return replace(problem, operations=operations)
