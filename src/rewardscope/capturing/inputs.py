"""From traces to what is captured: the model's input, the positions that are kept, and where each
row comes from.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from rewardscope.errors import BadRecord, TooLong
from rewardscope.prms import PrmAdapter
from rewardscope.prms.scorer import fitting
from rewardscope.records import Encoded, Problem, Trace
from rewardscope.storage.rows import UNKNOWN, RowTable, make_rows
from rewardscope.storage.sequences import ActSequence

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
    item: TraceInput,
    scores: Sequence[float] | None,
    texts: Sequence[str],
    *,
    window: int,
    sequence: int,
) -> RowTable:
    """Return where each kept state of a trace comes from; only step ends have a reward.

    `texts` are the token texts of the input; `window` counts the positions that the model was
    trained on; `sequence` is the number of the trace among those that are captured.
    """
    token_N, ends = np.asarray(item.positions), np.asarray(item.encoded.step_ends)
    n_rows, step_N = len(token_N), np.searchsorted(ends, token_N)
    is_end_N = ends[step_N] == token_N
    start_T = np.cumsum([0, *map(len, texts)])
    verdict = UNKNOWN if item.trace.correct is None else int(item.trace.correct)
    columns = {
        "problem": np.zeros(n_rows),
        "dataset": np.zeros(n_rows),
        "trace": np.full(n_rows, item.trace.index),
        "step": step_N,
        "token": token_N,
        "token_id": np.asarray(item.encoded.input_ids)[token_N],
        "is_step_end": is_end_N,
        "reward": np.where(is_end_N, np.asarray(scores)[step_N], 0) if scores else step_N * 0,
        "has_reward": is_end_N if scores else np.zeros(n_rows),
        "correct": np.full(n_rows, verdict),
        "in_window": token_N < window,
        "text_start": start_T[token_N],
        "sequence": np.full(n_rows, sequence),
    }
    return make_rows(columns, problems=(item.problem,), datasets=(item.dataset,))


def act_sequence(
    item: TraceInput, scores: tuple[float, ...] | None, texts: Sequence[str]
) -> ActSequence:
    """Return the input of a trace as it is kept beside its states."""
    return ActSequence(
        problem=item.problem,
        trace=item.trace.index,
        tokens=tuple(texts),
        step_ends=item.encoded.step_ends,
        scores=scores,
        correct=item.trace.correct,
    )
