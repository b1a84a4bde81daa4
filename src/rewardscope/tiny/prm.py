"""Train the shipped PRM: right and wrong steps in the instruct style only, so that reasoning traces are new to it.

Half of its solutions are sampled from `tiny-instruct` (the mistakes that it will meet in search), half are true solutions
with a planted mistake. Labels come from the ground truth of each problem, so there is no label noise.

One bit a step, mostly settled by earlier steps, teaches a small model too slowly where arithmetic went wrong. Three things help:
drills come first, where every equation is right or wrong by itself with even odds; every token is labelled right or wrong so
far; and the blocks that came from the policy go on predicting the next right token, so that the blocks after them only have to
compare what came with what was expected.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from rewardscope.engines import Engine
from rewardscope.log import progress
from rewardscope.prms.qwen import QwenAdapter, QwenPrm
from rewardscope.problems.prompts import encode_prompt
from rewardscope.problems.steps import split_steps
from rewardscope.problems.tinymath import Equation, TinyProblem, first_mistake, instruct_steps, judge_steps, with_equations
from rewardscope.problems.tinymath_reasoner import near_miss
from rewardscope.records import Encoded
from rewardscope.tiny.muon import optimizers
from rewardscope.tiny.policy import POOL, train_problem

# Shape legend: B batch, T tokens, M steps of a batch.
_COMPUTE: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: abs(a - b), "*": lambda a, b: a * b, "/": lambda a, b: a // b,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A PRM input with the truth of each token, step ends among them: 1 right, 0 wrong, -100 not judged.

    `expected` marks the tokens that a policy should predict.
    """

    encoded: Encoded
    labels: tuple[int, ...]
    expected: tuple[bool, ...]


def corrupted_steps(problem: TinyProblem, rng: random.Random) -> list[str]:
    """Write an instruct-style solution with one planted mistake that later steps carry on from.

    The mistake is a wrong result, a wrong operand, a wrong operation, or a wrong boxed answer.
    """
    equations = [e for operation in problem.operations for e in operation.equations]
    wrong, kind = rng.randrange(len(equations)), rng.choice(("result", "result", "result", "operand", "sign", "answer"))
    if kind == "answer":
        steps = instruct_steps(problem, rng)
        return [*steps[:-1], steps[-1].replace(f"{{{problem.answer}}}", f"{{{near_miss(rng, problem.answer)}}}")]
    renamed: dict[int, int] = {}  # true value -> the value that the flawed solution has in its place
    flawed = []
    for index, e in enumerate(equations):
        left, right, sign = renamed.get(e.left, e.left), renamed.get(e.right, e.right) if e.sign == "+" else e.right, e.sign
        if index == wrong and kind == "operand":
            right = near_miss(rng, right)
        if index == wrong and kind == "sign":
            sign = rng.choice([s for s in "+-*" if s != sign])
        result = _COMPUTE[sign](left, right)
        if index == wrong and kind == "result":
            result = near_miss(rng, result)
        flawed.append(Equation(left=left, sign=sign, right=right, result=result))
        if result != e.result:
            renamed[e.result] = result
    return instruct_steps(with_equations(problem, flawed), rng)


def planted_examples(tokenizer: PreTrainedTokenizerBase, n: int, rng: random.Random) -> list[Judged]:
    """Return `n` solutions, two thirds of them with a planted mistake."""
    examples = []
    for _ in range(n):
        problem = train_problem(rng)
        steps = corrupted_steps(problem, rng) if rng.random() < 2 / 3 else instruct_steps(problem, rng)
        examples.append(_judged(tokenizer, problem, steps))
    return examples


def sampled_examples(engine: Engine, n: int, *, temperature: float, seed: int) -> list[Judged]:
    """Return up to `n` solutions that a policy sampled for training problems."""
    rng = random.Random(f"prm-samples-{seed}")
    problems = [train_problem(rng) for _ in range(n)]
    prompts = [encode_prompt(engine.tokenizer, problem.question) for problem in problems]
    outputs = engine.generate(
        prompts, n=1, stop=(), temperature=temperature, top_p=1.0, max_tokens=256, seeds=[seed + index for index in range(n)]
    )
    solved = ((problem, split_steps(output[0].text)) for problem, output in zip(problems, outputs, strict=True))
    return [_judged(engine.tokenizer, problem, steps) for problem, steps in solved if steps]


def drill_examples(tokenizer: PreTrainedTokenizerBase, n: int, rng: random.Random) -> list[Judged]:
    """Return `n` solutions in which each equation is wrong with even odds, and judged by itself at its end."""
    examples = []
    for _ in range(n):
        problem, flawed, right = train_problem(rng), [], [True]
        value = problem.start
        for operation in problem.operations:
            for e in operation.equations:
                is_last, is_pack = e is operation.equations[-1], len(operation.equations) == 2
                left = value if is_last else e.left
                second = flawed[-1].result if is_last and is_pack else e.right
                result = _COMPUTE[e.sign](left, second)
                right.append(rng.random() < 0.5)
                flawed.append(Equation(left=left, sign=e.sign, right=second, result=result if right[-1] else near_miss(rng, result)))
            value = flawed[-1].result
        steps = instruct_steps(with_equations(problem, flawed), rng)
        encoded = QwenAdapter().encode(tokenizer, problem.question, steps)
        labels, expected = [-100] * len(encoded.input_ids), [False] * len(encoded.input_ids)
        start = encoded.step_ends[0]
        for end, is_right in zip(encoded.step_ends[1:], right[1:], strict=False):
            labels[end - 2 : end + 1] = [int(is_right)] * 3  # the last digit, the full stop, the step's end
            expected[start + 1 : end + 1] = [is_right] * (end - start)
            start = end
        examples.append(Judged(encoded=encoded, labels=tuple(labels), expected=tuple(expected)))
    return examples


def _judged(tokenizer: PreTrainedTokenizerBase, problem: TinyProblem, steps: Sequence[str]) -> Judged:
    encoded = QwenAdapter().encode(tokenizer, problem.question, steps)
    right = judge_steps(problem, list(steps))
    pieces = tokenizer(list(steps), return_offsets_mapping=True)["offset_mapping"]
    # Special tokens part the steps, so a step has the same tokens within the prompt as alone.
    labels = [-100] * (encoded.step_ends[0] - len(pieces[0]))
    for index, offsets in enumerate(pieces):
        wrong_from, wrong_to = first_mistake(problem, index, steps[index])
        for start, end in offsets:
            before = index == 0 or right[index - 1]
            within = not right[index] and wrong_from <= start and end < wrong_to
            labels.append(-100 if before and within else int(before and (right[index] or end < wrong_to)))
        labels.append(int(right[index]))
    labels += [-100] * (len(encoded.input_ids) - len(labels))
    return Judged(encoded=encoded, labels=tuple(labels), expected=tuple(label == 1 for label in labels))


def _batches(
    tokenizer: PreTrainedTokenizerBase, sampled: Sequence[Judged], *, drills: int, batch: int, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield token ids, labels and what a policy should predict, all [B, T], and whether a token is a step end.

    The first `drills` batches are drills.
    """
    assert isinstance(tokenizer.pad_token_id, int)
    given = 0
    while True:
        if given < drills:
            pool = drill_examples(tokenizer, POOL * batch, rng)
        else:
            pool = [*rng.sample(sampled, POOL * batch // 2), *planted_examples(tokenizer, POOL * batch // 2, rng)]
        pool.sort(key=lambda example: len(example.labels))
        starts = list(range(0, len(pool), batch))
        rng.shuffle(starts)
        for start in starts:
            rows = pool[start : start + batch]
            ids_BT = torch.full((batch, len(rows[-1].labels)), tokenizer.pad_token_id)
            labels_BT, expected_BT = torch.full_like(ids_BT, -100), torch.zeros_like(ids_BT, dtype=torch.bool)
            ends_BT = torch.zeros_like(expected_BT)
            for row, example in enumerate(rows):
                ids_BT[row, : len(example.labels)] = torch.tensor(example.encoded.input_ids)
                labels_BT[row, : len(example.labels)] = torch.tensor(example.labels)
                expected_BT[row, : len(example.labels)] = torch.tensor(example.expected)
                ends_BT[row, list(example.encoded.step_ends)] = True
            given += 1
            yield ids_BT, labels_BT, expected_BT, ends_BT


def train_prm(
    model: QwenPrm, tokenizer: PreTrainedTokenizerBase, *, sampled: Sequence[Judged], expecting: int, drills: int, steps: int, batch: int,
    lr: float, seed: int,
) -> float:  # fmt: skip
    """Train in place; return the mean loss at step ends over the last 20 optimizer steps, in nats a solution step.

    The next right token is predicted from the states after block `expecting`, counted from 1.
    """
    batches = _batches(tokenizer, sampled, drills=drills, batch=batch, rng=random.Random(f"prm-{seed}"))
    take_step, losses = optimizers(model, lr=lr, steps=steps), []
    model.train()
    for _ in progress(range(steps), "train tiny-prm"):
        ids_BT, labels_BT, expected_BT, ends_BT = next(batches)
        out = model.model(input_ids=ids_BT, output_hidden_states=True, use_cache=False)
        judged_BT = labels_BT != -100
        logits, labels, at_end = model.score(out.last_hidden_state[judged_BT]), labels_BT[judged_BT], ends_BT[judged_BT]
        step_loss, token_loss = cross_entropy(logits[at_end], labels[at_end]), cross_entropy(logits, labels)
        before_BT = expected_BT[:, 1:]
        guesses = model.model.norm(out.hidden_states[expecting][:, :-1][before_BT]) @ model.model.embed_tokens.weight.T
        (step_loss + token_loss + cross_entropy(guesses, ids_BT[:, 1:][before_BT])).backward()
        take_step()
        losses.append(float(step_loss.detach()))
    model.eval()
    return sum(losses[-20:]) / len(losses[-20:])
