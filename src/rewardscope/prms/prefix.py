"""Score the growing solutions of a search: what was scored before is kept, so that each distinct
token is encoded once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from rewardscope.log import get_logger
from rewardscope.models.forward import Past, run
from rewardscope.models.prefix import Computed, PrefixCache, memory_for_prefixes
from rewardscope.models.sites import Site
from rewardscope.prms.scorer import TOKEN_BUDGET, HfScorer
from rewardscope.records import Encoded

# Shape legend: R rows, P tokens of a kept prefix, T new tokens, N step ends.
# tokens that inputs must share beyond what is kept, for a forward pass of their own
_WORTH_A_PASS = 16
_PAST_BUDGET = 8  # tokens of prefixes in a forward pass, for each new token that it may have


@dataclass(slots=True)
class _Input:
    """One distinct input up to its last step end, its step ends, and the scores that are known."""

    ids: tuple[int, ...]
    ends: set[int]
    scores: dict[int, float] = field(default_factory=dict)


class _Job(NamedTuple):
    """Tokens `start` to `stop` of `ids` are encoded; scores are read at `ends`."""

    ids: tuple[int, ...]
    start: int
    ends: list[int]


class PrefixScorer:
    """Score with a PRM in this process, on the kept keys and values of what was scored before.

    Scores are those of `HfScorer`. Where the PRM's input form or attention does not allow it, or
    `max_bytes` are too few, all is encoded anew; a warning says so once. `tokens_encoded` counts
    new tokens, padding left out.
    """

    def __init__(self, scorer: HfScorer, *, max_bytes: int | None = None) -> None:
        self._plain = scorer
        self.tokenizer: PreTrainedTokenizerBase = scorer.tokenizer
        self.window, self.max_positions, self.flops = (
            scorer.window,
            scorer.max_positions,
            scorer.flops,
        )
        self.tokens_encoded = 0
        room = memory_for_prefixes(scorer.model.device) if max_bytes is None else max_bytes
        self._cache: PrefixCache | None = PrefixCache(scorer.model, max_bytes=room)
        if not (scorer.adapter.incremental and self._cache.fits_model):
            self._forgo("the PRM's form does not allow it")

    @property
    def reuses(self) -> bool:
        """Say whether what earlier calls scored is not encoded again."""
        return self._cache is not None

    def encode(self, question: str, steps: Sequence[str]) -> Encoded:
        """Encode one solution. Raises: BadRecord; TooLong beyond `max_positions`."""
        return self._plain.encode(question, steps)

    def score(self, batch: Sequence[Encoded]) -> list[tuple[float, ...]]:
        """Return one score for each step of each input, in order."""
        if self._cache is None:
            return self._score_anew(batch)
        self._cache.begin()
        inputs: dict[tuple[int, ...], _Input] = {}
        # what closes an input is in no score
        cut = [encoded.input_ids[: encoded.step_ends[-1] + 1] for encoded in batch]
        for ids, encoded in zip(cut, batch, strict=True):
            inputs.setdefault(ids, _Input(ids, set())).ends.update(encoded.step_ends)
        while jobs := _jobs(self._cache, list(inputs.values())):
            for some in _batches(jobs, TOKEN_BUDGET[self._plain.model.device.type]):
                self._encode(self._cache, some)
            if self._cache.is_full:
                self._forgo("the memory for it is too small")
                return self._score_anew(batch)
        return [
            tuple(inputs[ids].scores[end] for end in encoded.step_ends)
            for ids, encoded in zip(cut, batch, strict=True)
        ]

    @torch.no_grad()
    def _encode(self, kept: PrefixCache, jobs: Sequence[_Job]) -> None:
        """Run one batch on its kept prefixes; keep its states and note its scores."""
        model, adapter = self._plain.model, self._plain.adapter
        longest = max(len(job.ids) - job.start for job in jobs)
        cache, mask_RP = kept.load([kept.find(job.ids[: job.start]) for job in jobs], room=longest)
        ids_RT = torch.zeros(len(jobs), longest, dtype=torch.long)
        mask_RT = torch.zeros(len(jobs), longest, dtype=torch.bool)
        for row, job in enumerate(jobs):
            ids_RT[row, : len(job.ids) - job.start] = torch.tensor(job.ids[job.start :])
            mask_RT[row, : len(job.ids) - job.start] = True
        row_N = [row for row, job in enumerate(jobs) for _ in job.ends]
        end_N = [end - job.start for job in jobs for end in job.ends]
        last = Site(self._plain.n_layers - 1)
        states_ND = run(
            model,
            ids_RT,
            watch={last: lambda states_RTD: states_RTD[row_N, end_N]},
            past=Past(cache, mask_RP, mask_RT.to(model.device)),
        ).states[last]
        self.tokens_encoded += int(mask_RT.sum())
        kept.save(
            cache,
            [Computed(job.ids, job.start, row, mask_RP.shape[1]) for row, job in enumerate(jobs)],
        )
        scores = iter(adapter.read_out(model, states_ND).tolist() if row_N else [])
        for job in jobs:
            for end in job.ends:
                kept.note(job.ids, end, next(scores))

    def _score_anew(self, batch: Sequence[Encoded]) -> list[tuple[float, ...]]:
        before = self._plain.tokens_encoded
        scores = self._plain.score(batch)
        self.tokens_encoded += self._plain.tokens_encoded - before
        return scores

    def _forgo(self, why: str) -> None:
        get_logger().warning(
            f"every step of a solution is encoded anew in each round of the search: {why}"
        )
        self._cache = None


def _jobs(kept: PrefixCache, inputs: Sequence[_Input]) -> list[_Job]:
    """Fill in the scores that are kept; return what must be encoded next, so that what inputs share
    is encoded once.

    What several inputs share beyond the kept is a job of its own, and their rest waits for the next
    round.
    """
    groups: dict[tuple[int, tuple[int, ...]], list[_Input]] = {}
    for one in inputs:
        if len(one.scores) == len(one.ends):
            continue
        node, notes = kept.notes(one.ids)
        one.scores = {end: notes[end] for end in one.ends if end in notes}
        start = min([node.depth, *(end for end in one.ends if end not in notes)])
        if len(one.scores) < len(one.ends):
            groups.setdefault((start, one.ids[: start + _WORTH_A_PASS]), []).append(one)
    jobs = []
    for (start, _), group in groups.items():
        stop = (
            min(len(group[0].ids), *(_common(group[0].ids, other.ids) for other in group))
            if len(group) > 1
            else len(group[0].ids)
        )
        ends = sorted({end for one in group for end in one.ends if start <= end < stop})
        jobs.append(_Job(group[0].ids[:stop], start, ends))
    return jobs


def _batches(jobs: Sequence[_Job], budget: int) -> Iterator[list[_Job]]:
    """Cut the jobs, those of like length side by side, into batches within the budgets of new and
    of kept tokens.
    """
    batch: list[_Job] = []
    new = past = 0
    for job in sorted(jobs, key=lambda job: (len(job.ids) - job.start, job.start)):
        new, past = max(new, len(job.ids) - job.start), max(past, job.start)
        if batch and (
            (len(batch) + 1) * new > budget or (len(batch) + 1) * past > _PAST_BUDGET * budget
        ):
            yield batch
            batch, new, past = [], len(job.ids) - job.start, job.start
        batch.append(job)
    if batch:
        yield batch


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Return how many tokens two inputs have in common from the start."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
