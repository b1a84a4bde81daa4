"""Train the two shipped policies: next-token prediction on tinymath solutions, the loss on the
solution only.
"""

import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from rewardscope.log import progress
from rewardscope.problems.prompts import encode_prompt
from rewardscope.problems.tinymath import LEVELS, STEP_SEPARATOR, TinyProblem, make_problem
from rewardscope.problems.tinymath_instruct import instruct_steps
from rewardscope.problems.tinymath_reasoner import reasoner_text
from rewardscope.tiny.muon import optimizers

# Shape legend: B batch, T tokens.
POOL = 8  # batches sorted by length together, so that little is padding

WriteSolution = Callable[[TinyProblem, random.Random], str]


def instruct_text(problem: TinyProblem, rng: random.Random) -> str:
    """Write a solution in the instruct style as one text."""
    return STEP_SEPARATOR.join(instruct_steps(problem, rng))


STYLES: dict[str, WriteSolution] = {"tiny-instruct": instruct_text, "tiny-reasoner": reasoner_text}


def tiny_config(tokenizer: PreTrainedTokenizerBase, *, layers: int = 4) -> Qwen2Config:
    """Return the architecture of the shipped models: width 128; 0.87 M parameters with the 4 layers
    of the policies.
    """
    assert isinstance(tokenizer.eos_token_id, int)
    assert isinstance(tokenizer.pad_token_id, int)
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def train_problem(rng: random.Random) -> TinyProblem:
    """Draw a training problem of a random level; never one of the test split."""
    while True:
        problem = make_problem(rng, level=rng.choice(tuple(LEVELS)))
        if problem.split == "train":
            return problem


def _examples(
    tokenizer: PreTrainedTokenizerBase, write: WriteSolution, n: int, rng: random.Random
) -> list[tuple[list[int], int]]:
    """Return `n` pairs of token ids and the length of the prompt within them."""
    problems = [train_problem(rng) for _ in range(n)]
    prompts = [encode_prompt(tokenizer, p.question) for p in problems]
    solutions = [tokenizer(f"{write(p, rng)}{tokenizer.eos_token}")["input_ids"] for p in problems]
    return [
        ([*prompt, *solution], len(prompt))
        for prompt, solution in zip(prompts, solutions, strict=True)
    ]


def _batches(
    tokenizer: PreTrainedTokenizerBase, write: WriteSolution, batch: int, rng: random.Random
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield token ids and targets, both [B, T]; -100 where the loss does not count."""
    assert isinstance(tokenizer.pad_token_id, int)
    while True:
        pool = sorted(
            _examples(tokenizer, write, POOL * batch, rng), key=lambda example: len(example[0])
        )
        starts = list(range(0, len(pool), batch))
        rng.shuffle(starts)
        for start in starts:
            rows = pool[start : start + batch]
            ids_BT = torch.full((batch, len(rows[-1][0])), tokenizer.pad_token_id)
            targets_BT = torch.full_like(ids_BT, -100)
            for row, (ids, n_prompt) in enumerate(rows):
                ids_BT[row, : len(ids)] = torch.tensor(ids)
                targets_BT[row, n_prompt - 1 : len(ids) - 1] = ids_BT[row, n_prompt : len(ids)]
            yield ids_BT, targets_BT


def train_policy(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    *,
    style: str,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
) -> float:
    """Train in place; return the mean loss of the last 20 steps, in nats a token."""
    rng = random.Random(f"policy-{style}-{seed}")
    batches = _batches(tokenizer, STYLES[style], batch, rng)
    take_step, losses = optimizers(model, lr=lr, steps=steps), []
    model.train()
    for _ in progress(range(steps), f"train {style}"):
        ids_BT, targets_BT = next(batches)
        counted_BT = targets_BT != -100
        # Right padding needs no attention mask: the model is causal and padded positions carry no
        # loss.
        hidden = model.model(input_ids=ids_BT).last_hidden_state[counted_BT]
        loss = cross_entropy(model.lm_head(hidden), targets_BT[counted_BT])
        loss.backward()
        take_step()
        losses.append(float(loss.detach()))
    model.eval()
    return sum(losses[-20:]) / len(losses[-20:])
