"""What the shipped PRM learns from: solutions in the instruct style, with the truth of each token.

Drills are solutions with flaws planted at known places; samples are what `tiny-instruct` itself
writes. Labels come from the chain of each problem, so there is no label noise. Reasoning traces are
left out, so that they are new to the PRM.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from transformers import PreTrainedTokenizerBase

from rewardscope.engines import Engine
from rewardscope.prms.qwen import QwenAdapter
from rewardscope.problems.prompts import encode_prompt
from rewardscope.problems.steps import split_steps
from rewardscope.problems.tinymath import Equation, TinyProblem, with_equations
from rewardscope.problems.tinymath_instruct import first_mistake, instruct_steps, judge_steps
from rewardscope.tiny.policy import train_problem

UNKNOWN = -100
_SIGNS = "+-*/"


@dataclass(frozen=True, slots=True)
class Judged:
    """A PRM input with what is known about each of its tokens; -100 where nothing is."""

    input_ids: tuple[int, ...]
    step_ends: tuple[int, ...]
    so_far: tuple[int, ...]
    """1 where the solution is right up to and with the token, 0 where it is not."""
    own: tuple[int, ...]
    """For numbers and signs of drills: 1 where the token fits what is written before it, else 0."""
    expected: tuple[int, ...]
    """For numbers and signs of drills: the token that fits."""


def drill(tokenizer: PreTrainedTokenizerBase, *, share: float, rng: random.Random) -> Judged:
    """Write a solution of a training problem in which each equation is flawed with probability
    `share`.
    """
    problem = train_problem(rng)
    written, right = drill_steps(problem, share=share, rng=rng)
    encoded = QwenAdapter().encode(tokenizer, problem.question, written)
    ids, starts = encoded.input_ids, _step_starts(tokenizer, encoded.step_ends, written[0])
    own, expected = [UNKNOWN] * len(ids), [UNKNOWN] * len(ids)
    for text, start, end in zip(right, starts, encoded.step_ends, strict=True):
        for place, wanted in _judged_tokens(
            tokenizer, ids[start:end], tokenizer(text)["input_ids"]
        ):
            is_right = ids[start + place] == wanted
            own[start + place] = int(is_right)
            expected[start + place] = wanted if wanted in _numbers(tokenizer) else UNKNOWN
    flaw = own.index(0) if 0 in own else len(ids)
    so_far = _so_far(len(ids), starts[0], encoded.step_ends[-1], flaw, flaw)
    return Judged(ids, encoded.step_ends, so_far, tuple(own), tuple(expected))


def drill_steps(
    problem: TinyProblem, *, share: float, rng: random.Random
) -> tuple[list[str], list[str]]:
    """Return the steps as written, and each as it should read after those written before it.

    Later steps carry on from a flaw; the solution ends early where the next operation cannot be
    done with the flawed value.
    """
    start = misread(rng, problem.start) if rng.random() < share else problem.start
    pairs = list(_carry_on(problem, start, share, rng))
    full = [e for operation in problem.operations for e in operation.equations]
    steps = instruct_steps(
        with_equations(problem, [right for _, right in pairs] + full[len(pairs) :]), rng
    )
    written = [steps[0].replace(str(problem.start), str(start))]
    written += [
        step.replace(str(right), str(flawed))
        for step, (flawed, right) in zip(steps[1:], pairs, strict=False)
    ]
    right_steps = steps[: len(written)]
    if len(pairs) == len(full):
        last, answer = pairs[-1][1].result, pairs[-1][0].result
        right_steps.append(steps[-1].replace(f"{{{last}}}", f"{{{answer}}}"))
        given = misread(rng, answer) if rng.random() < share else answer
        written.append(steps[-1].replace(f"{{{last}}}", f"{{{given}}}"))
    return written, right_steps


def _carry_on(
    problem: TinyProblem, start: int, share: float, rng: random.Random
) -> Iterator[tuple[Equation, Equation]]:
    """Yield each equation as written and as it should be after those written before it."""
    value = result_before = start
    for operation in problem.operations:
        for e in operation.equations:
            left = value if e is operation.equations[-1] else e.left
            # the second equation of a pack adds the first's result
            second = e.right if e is operation.equations[0] else result_before
            result = compute(left, e.sign, second)
            if result is None:
                return
            right = Equation(left=left, sign=e.sign, right=second, result=result)
            flawed = _flawed(right, rng) if rng.random() < share else right
            yield flawed, right
            result_before = flawed.result
        value = result_before


def _flawed(e: Equation, rng: random.Random) -> Equation:
    """Change the result, or an operand or the sign and the result with it."""
    change = rng.choices(("result", "left", "right", "sign"), weights=(7, 1, 1, 1))[0]
    if change == "sign":
        other = replace(e, sign=rng.choice([sign for sign in _SIGNS if sign != e.sign]))
    elif change == "result":
        return replace(e, result=misread(rng, e.result))
    else:
        other = replace(e, **{change: misread(rng, getattr(e, change))})
    result = compute(other.left, other.sign, other.right)
    return (
        replace(e, result=misread(rng, e.result))
        if result is None
        else replace(other, result=result)
    )


def compute(left: int, sign: str, right: int) -> int | None:
    """Return the result, or None where it is negative, no whole number, or not defined."""
    if sign == "/":
        return left // right if right and left % right == 0 else None
    result = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return result if result >= 0 else None


def misread(rng: random.Random, value: int) -> int:
    """Change one digit."""
    digits = list(str(value))
    place = rng.randrange(len(digits))
    others = "123456789" if place == 0 and len(digits) > 1 else "0123456789"
    digits[place] = rng.choice([digit for digit in others if digit != digits[place]])
    return int("".join(digits))


def sampled(engine: Engine, n: int, *, temperature: float, seed: int) -> list[Judged]:
    """Return up to `n` solutions that a policy sampled for training problems."""
    rng = random.Random(f"prm-samples-{seed}")
    problems = [train_problem(rng) for _ in range(n)]
    prompts = [encode_prompt(engine.tokenizer, problem.question) for problem in problems]
    outputs = engine.generate(
        prompts,
        n=1,
        stop=(),
        temperature=temperature,
        top_p=1.0,
        max_tokens=256,
        seeds=[seed + index for index in range(n)],
    )
    solved = (
        (problem, split_steps(output[0].text))
        for problem, output in zip(problems, outputs, strict=True)
    )
    return [judge(engine.tokenizer, problem, steps) for problem, steps in solved if steps]


def judge(tokenizer: PreTrainedTokenizerBase, problem: TinyProblem, steps: Sequence[str]) -> Judged:
    """Label a solution by the chain of its problem; of a wrong number only the last token is known
    to be wrong.
    """
    encoded = QwenAdapter().encode(tokenizer, problem.question, steps)
    ids, right = encoded.input_ids, judge_steps(problem, list(steps))
    starts = _step_starts(tokenizer, encoded.step_ends, steps[0])
    flaw_from = flaw_to = len(ids)
    if False in right:
        index = right.index(False)
        wrong_from, wrong_to = first_mistake(problem, index, steps[index])
        offsets = tokenizer(steps[index], return_offsets_mapping=True)["offset_mapping"]
        flaw_from = starts[index] + sum(end <= wrong_from for _, end in offsets)
        flaw_to = starts[index] + sum(end < wrong_to for _, end in offsets)
    so_far = _so_far(len(ids), starts[0], encoded.step_ends[-1], flaw_from, flaw_to)
    blank = (UNKNOWN,) * len(ids)
    return Judged(ids, encoded.step_ends, so_far, blank, blank)


def _so_far(n: int, first: int, last: int, flaw_from: int, flaw_to: int) -> tuple[int, ...]:
    """Label the tokens `first` to `last` of `n`: right before `flaw_from`, wrong from `flaw_to`
    on.
    """
    return tuple(
        (
            UNKNOWN
            if not first <= place <= last or flaw_from <= place < flaw_to
            else int(place < flaw_from)
        )
        for place in range(n)
    )


def _step_starts(
    tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], first_step: str
) -> list[int]:
    """Return where each step starts.

    Special tokens part the steps, so a step has the same tokens within the prompt as alone.
    """
    return [ends[0] - len(tokenizer(first_step)["input_ids"]), *(end + 1 for end in ends[:-1])]


@cache
def _numbers(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    return frozenset(tokenizer(f"0123456789 {' '.join(_SIGNS)}")["input_ids"])


def _judged_tokens(
    tokenizer: PreTrainedTokenizerBase, written: Sequence[int], right: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Yield the place of each number, sign or first difference in a step, and the right token
    there.

    After a flaw nothing more of the step can be judged, but the other digits of a result of the
    right length.
    """
    (equals,) = tokenizer(" =")["input_ids"]
    in_result = (
        written.index(equals) if len(written) == len(right) and equals in written else len(written)
    )
    for place, (token, wanted) in enumerate(zip(written, right, strict=False)):
        if token != wanted or token in _numbers(tokenizer):
            yield place, wanted
        if token != wanted and place < in_result:
            return
