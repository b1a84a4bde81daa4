"""Train the shipped PRM in two phases, from the weights of `tiny-instruct`.

One bit a step, mostly settled by the steps before it, teaches a small model too slowly where
arithmetic went wrong. So the policy first learns to expect the right number after anything that may
stand before it, right or wrong. Then blocks are put on top that compare what came with what was
expected: the first looks one token back and tells numbers that do not fit, and the last tells
whether the solution is right so far.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from rewardscope.log import progress
from rewardscope.prms.qwen import QwenPrm, step_tag_id
from rewardscope.problems.tinymath import STEP_SEPARATOR
from rewardscope.tiny.judged import UNKNOWN, Judged, drill
from rewardscope.tiny.muon import optimizers
from rewardscope.tiny.policy import POOL

# Shape legend: B batch, T tokens, D width.
_SHARES_EXPECT = (0.0, 0.5)  # of flawed equations in a drill; drawn for each drill
_SHARES_JUDGE = (0.05, 0.1, 0.2, 0.3)
_FLAW_WEIGHT = 8.0  # of a number that does not fit against one that does: 1 in 10 does not
_LOOK_BACK = 6.0  # length of the query and key biases, for each of their frequencies


class Batch(NamedTuple):
    """Inputs padded on the right, with their labels: all [B, T]."""

    ids: Tensor
    so_far: Tensor
    own: Tensor
    expected: Tensor
    is_end: Tensor


def learn_to_expect(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
) -> None:
    """Train a policy in place to predict, in the PRM's input form, the number that fits whatever is
    written before it.
    """
    (separator,) = tokenizer(STEP_SEPARATOR)["input_ids"]
    embedding = model.model.embed_tokens.weight
    with torch.no_grad():
        embedding[step_tag_id(tokenizer)] = embedding[separator]
    rng = random.Random(f"expect-{seed}")
    batches = _batches(tokenizer, (), _SHARES_EXPECT, batch, rng)
    take_step = optimizers(model, lr=lr, steps=steps)
    model.train()
    for _ in progress(range(steps), "tiny-prm learns what to expect"):
        rows = next(batches)
        states_BTD = model.model(input_ids=rows.ids, use_cache=False).last_hidden_state
        _expectation_loss(states_BTD, embedding, rows).backward()
        take_step()
    model.eval()


def learn_to_judge(
    model: QwenPrm,
    tokenizer: PreTrainedTokenizerBase,
    *,
    sampled: Sequence[Judged],
    known: int,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
) -> float:
    """Train in place; return the mean loss at step ends over the last 20 optimizer steps, in nats a
    solution step.

    The first `known` blocks predict what is expected; the others are made anew. Half of the
    solutions are `sampled`.
    """
    torch.manual_seed(seed)
    _begin_new_blocks(model, known)
    # reads the first new block; of use in training only
    fits = nn.Linear(model.config.hidden_size, 2)
    batches = _batches(tokenizer, sampled, _SHARES_JUDGE, batch, random.Random(f"judge-{seed}"))
    take_step, losses = optimizers(nn.ModuleList([model, fits]), lr=lr, steps=steps), []
    weight = torch.tensor([_FLAW_WEIGHT, 1.0])
    model.train()
    for _ in progress(range(steps), "tiny-prm learns to judge"):
        rows = next(batches)
        out = model.model(input_ids=rows.ids, output_hidden_states=True, use_cache=False)
        judged, compared = rows.so_far != UNKNOWN, rows.own != UNKNOWN
        logits, labels, at_end = (
            model.score(out.last_hidden_state[judged]),
            rows.so_far[judged],
            rows.is_end[judged],
        )
        step_loss = cross_entropy(logits[at_end], labels[at_end])
        fit_logits = fits(model.model.norm(out.hidden_states[known + 1][compared]))
        expectation = _expectation_loss(
            model.model.norm(out.hidden_states[known]), model.model.embed_tokens.weight, rows
        )
        fit_loss = cross_entropy(fit_logits, rows.own[compared], weight=weight)
        (step_loss + cross_entropy(logits, labels) + fit_loss + expectation).backward()
        take_step()
        losses.append(float(step_loss.detach()))
    model.eval()
    return sum(losses[-20:]) / len(losses[-20:])


@torch.no_grad()
def _begin_new_blocks(model: QwenPrm, known: int) -> None:
    """Draw the blocks after the first `known`; the first of them starts with half of its heads
    looking one token back.

    With biases a R(1)u as keys and a u as queries, the score of a token d places back is
    proportional to the sum over the rotary frequencies f of cos((d - 1) f), which is largest at d =
    1.
    """
    width = model.config.hidden_size
    for block in model.model.layers[known:]:
        for weight in block.parameters():
            if weight.ndim == 2:
                weight.normal_(std=width**-0.5)
    attention: Any = model.model.layers[known].self_attn
    freq = model.model.rotary_emb.inv_freq
    assert isinstance(freq, Tensor)
    query = _LOOK_BACK * torch.cat([torch.ones_like(freq), torch.zeros_like(freq)])
    key = _LOOK_BACK * torch.cat([freq.cos(), freq.sin()])
    for bias, head in ((attention.q_proj.bias, query), (attention.k_proj.bias, key)):
        half = len(bias) // 2
        bias[:half] = head.repeat(half // len(head))


def _expectation_loss(states_BTD: Tensor, embedding: Tensor, rows: Batch) -> Tensor:
    """Return the cross-entropy of the expected tokens, each predicted from the state of the token
    before it.
    """
    wanted = rows.expected[:, 1:]
    has_one = wanted != UNKNOWN
    return cross_entropy(states_BTD[:, :-1][has_one] @ embedding.T, wanted[has_one])


def _batches(
    tokenizer: PreTrainedTokenizerBase,
    sampled: Sequence[Judged],
    shares: Sequence[float],
    batch: int,
    rng: random.Random,
) -> Iterator[Batch]:
    """Yield batches of drills, half of them `sampled` solutions where there are any; rows of a
    batch are of like length.
    """
    assert isinstance(tokenizer.pad_token_id, int)
    while True:
        pool = rng.sample(sampled, POOL * batch // 2) if sampled else []
        pool += [
            drill(tokenizer, share=rng.choice(shares), rng=rng)
            for _ in range(POOL * batch - len(pool))
        ]
        pool.sort(key=lambda example: len(example.input_ids))
        starts = list(range(0, len(pool), batch))
        rng.shuffle(starts)
        for start in starts:
            yield _collate(pool[start : start + batch], tokenizer.pad_token_id)


def _collate(rows: Sequence[Judged], pad: int) -> Batch:
    length = len(rows[-1].input_ids)

    def padded(values: Sequence[tuple[int, ...]], fill: int) -> Tensor:
        return torch.tensor([[*row, *([fill] * (length - len(row)))] for row in values])

    is_end_BT = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, row in enumerate(rows):
        is_end_BT[index, list(row.step_ends)] = True
    return Batch(
        padded([row.input_ids for row in rows], pad),
        padded([row.so_far for row in rows], UNKNOWN),
        padded([row.own for row in rows], UNKNOWN),
        padded([row.expected for row in rows], UNKNOWN),
        is_end_BT,
    )
