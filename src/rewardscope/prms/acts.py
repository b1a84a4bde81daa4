"""From traces to activations: which positions are kept, the PRM's states there, and where each row comes from."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rewardscope.prms.scorer import HfScorer, runs_within
from rewardscope.records import ActRow, Encoded, Problem, Trace

# Shape legend: T tokens, N rows, D width.
Positions = Literal["step-ends", "all-tokens"]
Encode = Callable[[str, Sequence[str]], Encoded]
_UNFINISHED = "\ufffd"  # what a decoder shows for a part of a character
_MAX_PIECES = 4  # bytes of the longest UTF-8 character


class Item(NamedTuple):
    """One trace to capture: its PRM input and the positions that are kept."""

    problem: str
    trace: Trace
    encoded: Encoded
    positions: Sequence[int]


def encode_item(problem: Problem, trace: Trace, *, encode: Encode, positions: Positions) -> Item:
    """Encode a trace and choose its rows: step ends, or all tokens of the solution up to the last step end.

    Raises: BadRecord, TooLong.
    """
    encoded = encode(problem.question, trace.steps)
    if positions == "step-ends":
        return Item(problem.id, trace, encoded, encoded.step_ends)
    return Item(problem.id, trace, encoded, range(solution_start(problem.question, encode), encoded.step_ends[-1] + 1))


def solution_start(question: str, encode: Encode) -> int:
    """Return the position of the first solution token: where two solutions that begin differently part, in any family's form."""
    one, other = (encode(question, [step]).input_ids for step in ("0", "x"))
    return next(position for position, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)


def capture_items(
    scorer: HfScorer, items: Sequence[Item], layers: Sequence[int], *, dtype: torch.dtype, batch_tokens: int
) -> tuple[dict[int, Tensor], list[tuple[float, ...]]]:
    """Return for each layer the kept states [N, D] on the CPU, traces in order, and the scores of each trace.

    Batches hold traces of like length and depend on `items` alone, so doing the same items again gives the same bits.
    """
    starts = [0]
    for item in items:
        starts.append(starts[-1] + len(item.positions))
    acts = {layer: torch.empty(starts[-1], scorer.width, dtype=dtype) for layer in layers}
    scores: list[tuple[float, ...]] = [()] * len(items)
    lengths = [len(item.encoded.input_ids) for item in items]
    shortest_first = sorted(range(len(items)), key=lambda index: lengths[index])
    for batch in runs_within(batch_tokens, lengths, shortest_first):
        for index, captured in zip(batch, scorer.capture([items[index].encoded for index in batch], layers), strict=True):
            scores[index] = captured.scores
            for layer, states_TD in captured.states.items():
                acts[layer][starts[index] : starts[index + 1]] = states_TD[list(items[index].positions)].to("cpu", dtype)
    return acts, scores


def act_rows(item: Item, scores: Sequence[float]) -> Iterator[ActRow]:
    """Yield where each kept state of a trace comes from; only step ends have a reward."""
    ends = item.encoded.step_ends
    for position in item.positions:
        step = bisect_left(ends, position)
        is_end = ends[step] == position
        yield ActRow(
            problem=item.problem, trace=item.trace.index, step=step, token=position, token_id=item.encoded.input_ids[position],
            is_step_end=is_end, reward=scores[step] if is_end else None, correct=item.trace.correct,
        )  # fmt: skip


def token_reader(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[int]], list[str]]:
    """Return a function that gives the text of each token; joined, the texts are the text of all.

    A character that is spelled by several tokens is given to the last of them; the others are "".
    """

    @cache
    def decode(ids: tuple[int, ...]) -> str:
        text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str), type(text)
        return text

    def read(ids: Sequence[int]) -> list[str]:
        texts: list[str] = []
        held: tuple[int, ...] = ()
        for token in ids:
            held += (token,)
            text = decode(held)
            if text.endswith(_UNFINISHED) and len(held) < _MAX_PIECES:
                texts.append("")
            else:
                texts.append(text)
                held = ()
        if held:
            texts[-1] = decode(held)
        return texts

    return read
