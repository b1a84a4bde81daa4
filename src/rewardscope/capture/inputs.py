"""From traces to what is captured: the model's input, the positions that are kept, and where each
row comes from.
"""

import hashlib
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple, Protocol

from transformers import PreTrainedTokenizerBase

from rewardscope.errors import BadRecord, TooLong
from rewardscope.prms import PrmAdapter
from rewardscope.prms.scorer import fitting
from rewardscope.records import ActRow, Encoded, Problem, Trace

Positions = Literal["step-ends", "all-tokens", "last", "sample"]


class Pick(NamedTuple):
    """Which positions of a solution are kept."""

    positions: Positions
    """Step ends, where the PRM scores; all tokens up to the last step end; that one alone; or a
    random sample of all tokens.
    """
    sample: int
    """Tokens of each trace, where they are a sample."""
    seed: int


class TraceInput(NamedTuple):
    """One trace to capture: the model's input and the positions that are kept, ascending."""

    problem: str
    dataset: str
    trace: Trace
    encoded: Encoded
    positions: Sequence[int]
    scores: tuple[float, ...] | None
    """Step scores that are known and need not be computed."""


class TraceEncoder(Protocol):
    """How a model is shown a trace."""

    def encode(self, question: str, trace: Trace) -> Encoded:
        """Encode one solution. Raises: BadRecord; TooLong."""
        ...

    def start(self, question: str) -> int:
        """Return the position of the first solution token."""
        ...


class PrmEncoder:
    """A PRM's own form. `max_positions` is the longest input in tokens."""

    def __init__(
        self, adapter: PrmAdapter, tokenizer: PreTrainedTokenizerBase, *, max_positions: int
    ) -> None:
        self._adapter, self._tokenizer, self._max_positions = adapter, tokenizer, max_positions
        self.start = lru_cache(maxsize=1)(self._start)  # the traces of a problem follow one another

    def encode(self, question: str, trace: Trace) -> Encoded:
        """Encode one solution. Raises: BadRecord; TooLong."""
        return fitting(
            self._adapter.encode(self._tokenizer, question, trace.steps), self._max_positions
        )

    def _start(self, question: str) -> int:
        return solution_start(
            question, lambda question, steps: self._adapter.encode(self._tokenizer, question, steps)
        )


def solution_start(question: str, encode: Callable[[str, Sequence[str]], Encoded]) -> int:
    """Return the position of the first solution token: where two solutions that begin differently
    part, in any family's form.
    """
    one, other = (encode(question, [step]).input_ids for step in ("0", "x"))
    return next(position for position, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)


def encode_trace(
    problem: Problem,
    trace: Trace,
    *,
    encoder: TraceEncoder,
    pick: Pick,
    scores: tuple[float, ...] | None,
) -> TraceInput:
    """Encode a trace and choose its rows. `scores` are those of its steps where they need not be
    computed.

    Raises: BadRecord, TooLong.
    """
    encoded = encoder.encode(problem.question, trace)
    ends = encoded.step_ends
    positions: Sequence[int] = ends[-1:] if pick.positions == "last" else ends
    if pick.positions in ("all-tokens", "sample"):
        positions = range(encoder.start(problem.question), ends[-1] + 1)
    if pick.positions == "sample":
        positions = _sampled(positions, pick, f"{trace.problem_id}|{trace.index}")
    return TraceInput(problem.id, problem.dataset, trace, encoded, positions, scores)


def _sampled(positions: Sequence[int], pick: Pick, name: str) -> Sequence[int]:
    """Draw positions by a generator of the trace's own, so that they depend on no other trace."""
    seed = int.from_bytes(
        hashlib.blake2b(f"{pick.seed}|{name}".encode(), digest_size=8).digest(), "big"
    )
    return sorted(random.Random(seed).sample(positions, min(pick.sample, len(positions))))


class Encodable(NamedTuple):
    """The traces that a model can take, and what became of the others."""

    items: list[TraceInput]
    skipped: dict[str, int]
    """How many it cannot take, by reason."""
    examples: dict[str, str]
    """By reason: the first of them and what is wrong with it."""


def encode_traces(
    traces: Sequence[tuple[Problem, Trace]],
    *,
    encoder: TraceEncoder,
    pick: Pick,
    known_scores: bool,
) -> Encodable:
    """Encode the traces that the model can take.

    With `known_scores` those that traces have are taken, not computed.
    """
    items, skipped, examples = [], Counter[str](), {}
    for problem, trace in traces:
        try:
            items.append(
                encode_trace(
                    problem,
                    trace,
                    encoder=encoder,
                    pick=pick,
                    scores=trace.scores if known_scores else None,
                )
            )
        except BadRecord as error:
            reason = (
                "without steps"
                if not trace.steps
                else "too long"
                if isinstance(error, TooLong)
                else "not encodable"
            )
            skipped[reason] += 1
            examples.setdefault(reason, f"trace {trace.index} of {problem.id}: {error}")
    return Encodable(items, dict(skipped), examples)


def act_rows(
    item: TraceInput, scores: Sequence[float] | None, texts: Sequence[str], *, window: int
) -> Iterator[ActRow]:
    """Yield where each kept state of a trace comes from; only step ends have a reward.

    `texts` are the token texts of the input; `window` counts the positions that the model was
    trained on.
    """
    ends, starts = item.encoded.step_ends, list(accumulate(map(len, texts), initial=0))
    for position in item.positions:
        step = bisect_left(ends, position)
        is_end = ends[step] == position
        yield ActRow(
            problem=item.problem,
            trace=item.trace.index,
            step=step,
            token=position,
            token_id=item.encoded.input_ids[position],
            is_step_end=is_end,
            reward=scores[step] if is_end and scores else None,
            correct=item.trace.correct,
            dataset=item.dataset,
            in_window=position < window,
            text_start=starts[position],
        )
