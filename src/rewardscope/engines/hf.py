"""Generate with transformers' own models: batched, key-value cache, one prefill for all samples of
a prompt.

Each sample has its own stream of uniform numbers, one a token, so what it says does not depend on
what else is in the batch.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from rewardscope.engines.completions import Detokenizer, StopFinder, check_prompts, end_token_ids
from rewardscope.engines.sampling import pick_tokens
from rewardscope.models.blocks import shape_of
from rewardscope.models.cache import Held, bytes_held, group_queries, growing_cache
from rewardscope.models.device import pick_device, pick_dtype
from rewardscope.models.flops import flops_of
from rewardscope.models.load import check_vocabulary, load_causal_lm, load_tokenizer
from rewardscope.models.prefix import Computed, PrefixCache, memory_for_prefixes
from rewardscope.records import Completion, Finish

# Shape legend: R rows (samples in flight), P prompts, T tokens, V vocabulary.
MAX_ROWS = {"cpu": 128, "cuda": 256}
PREFILL_TOKENS = 32_768  # padded tokens of one prefill, at most
CPU_CACHE_BYTES = 4 << 30
GPU_CACHE_SHARE = 0.5  # of the memory that is free once the model is loaded
# share of ended rows that may stay in the batch: leaving costs a copy of the cache
KEPT_ENDED = 1 / 8


@dataclass(slots=True, kw_only=True)
class _Row:
    """One sample in the making."""

    prompt_index: int
    prompt: Sequence[int]
    room: int
    seed: tuple[int, int]
    reused: int = 0  # tokens of the prompt whose keys and values were there
    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None

    def take(self, token: int, *, ends: frozenset[int], finder: StopFinder) -> None:
        """Add a token, unless it is an end token; settle whether it is the last one."""
        if token in ends:
            self.finish = "eos"
            return
        self.ids.append(token)
        if finder.completes(self.prompt, self.ids):
            self.finish = "stop"
        elif len(self.ids) == self.room:
            self.finish = "length"


@final
class HfEngine:
    """The engine that runs everywhere transformers does."""

    def __init__(self, model: str, *, device: str, dtype: str = "auto") -> None:
        chosen = pick_device(device)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model)
        self.model = load_causal_lm(model, device=chosen, dtype=pick_dtype(chosen, dtype))
        check_vocabulary(model, self.tokenizer, self.model)
        group_queries(self.model)
        self.max_positions: int = shape_of(self.model.config).window
        self.flops = flops_of(self.model.config)
        self._detokenizer = Detokenizer(self.tokenizer)
        self._ends = end_token_ids(model, self.tokenizer)
        self._bytes = self._measure_cache()
        self._kept: PrefixCache | None = None

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        stop: tuple[str, ...],
        temperature: float,
        top_p: float,
        max_tokens: int,
        seeds: Sequence[int],
        top_k: int = 0,
        min_p: float = 0.0,
        reuse: bool = False,
    ) -> list[list[Completion]]:
        """Return `n` completions for each prompt, in order; see `Engine.generate`."""
        check_prompts(prompts, max_positions=self.max_positions)
        if reuse and self._kept is None:
            self._kept = PrefixCache(self.model, max_bytes=memory_for_prefixes(self.model.device))
        kept = self._kept if reuse and self._kept is not None and self._kept.fits_model else None
        if kept is not None:
            kept.begin()
        samples = n if temperature > 0 else 1  # greedy samples are all the same
        rows = [
            _Row(
                prompt_index=index,
                prompt=prompt,
                room=min(max_tokens, self.max_positions - len(prompt)),
                seed=(seed, sample),
            )
            for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
            for sample in range(samples)
        ]
        finder = StopFinder(self._detokenizer, stop)
        pick = functools.partial(
            pick_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p
        )
        for batch in self._batches(sorted(rows, key=lambda row: -len(row.prompt))):
            self._run(batch, sampled=temperature > 0, pick=pick, finder=finder, kept=kept)
        done = [self._completion(row) for row in rows]
        return [
            done[index * samples : (index + 1) * samples] * (n // samples)
            for index in range(len(prompts))
        ]

    def _completion(self, row: _Row) -> Completion:
        assert row.finish is not None
        return self._detokenizer.completion(row.prompt, row.ids, finish=row.finish)

    def _batches(self, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
        """Cut rows, longest prompt first, into batches that fit in memory; a batch has at least one
        row.
        """
        device, budget = self.model.device, self._budget()
        batch: list[_Row] = []
        for row in rows:
            if batch:
                width, room = len(batch[0].prompt), max(row.room, batch[0].room)
                n_prompts = len({r.prompt_index for r in batch} | {row.prompt_index})
                row_bytes = (width + room) * self._bytes.keys + self._bytes.states
                if (
                    len(batch) >= MAX_ROWS[device.type]
                    or n_prompts * width > PREFILL_TOKENS
                    or (len(batch) + 1) * row_bytes > budget
                ):
                    yield batch
                    batch = []
            batch.append(row)
        if batch:
            yield batch

    def _budget(self) -> float:
        """Return how many bytes keys and values may take."""
        device = self.model.device
        return (
            GPU_CACHE_SHARE * torch.cuda.mem_get_info(device)[0]
            if device.type == "cuda"
            else CPU_CACHE_BYTES
        )

    @torch.inference_mode()
    def _run(
        self,
        rows: Sequence[_Row],
        *,
        sampled: bool,
        pick: Callable[[Tensor, Tensor | None], Tensor],
        finder: StopFinder,
        kept: PrefixCache | None,
    ) -> None:
        """Generate all of a batch. Rows that ended leave it."""
        device, longest = self.model.device, max(row.room for row in rows)
        streams = (
            [np.random.default_rng(row.seed).random(longest) for row in rows] if sampled else []
        )
        uniform_RT = torch.from_numpy(np.stack(streams)).to(device) if streams else None
        cache, logits_RV, mask_RT = self._prefill(rows, kept)
        position_R, n_prefilled = mask_RT.sum(dim=1), mask_RT.shape[1]
        live = list(rows)
        for step in range(longest):
            token_R = pick(logits_RV, None if uniform_RT is None else uniform_RT[:, step])
            for row, token in zip(live, token_R.tolist(), strict=True):
                if row.finish is None:
                    row.take(token, ends=self._ends, finder=finder)
            going = [index for index, row in enumerate(live) if row.finish is None]
            leaving = len(going) <= (1 - KEPT_ENDED) * len(live)
            if leaving and kept is not None:
                kept.save(
                    cache,
                    [
                        _computed(row, index, n_prefilled, step)
                        for index, row in enumerate(live)
                        if row.finish == "stop"
                    ],
                )
            if not going:
                break
            if leaving:
                going_R = torch.tensor(going, device=device)
                cache.reorder_cache(going_R)  # type: ignore[arg-type]
                token_R, position_R, mask_RT = (
                    token_R[going_R],
                    position_R[going_R],
                    mask_RT[going_R],
                )
                uniform_RT = None if uniform_RT is None else uniform_RT[going_R]
                live = [live[index] for index in going]
            mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(live), 1)], dim=1)
            logits_RV = self._forward(
                token_R[:, None], mask_RT, (position_R + step)[:, None], cache
            )

    def _prefill(
        self, rows: Sequence[_Row], kept: PrefixCache | None
    ) -> tuple[Cache, Tensor, Tensor]:
        """Run what is new of each distinct prompt once; return the cache, the next logits [R, V]
        and the mask [R, T] of all rows.
        """
        prompts = {
            tuple(row.prompt): line
            for line, row in enumerate({tuple(row.prompt): row for row in rows}.values())
        }
        device = self.model.device
        nodes = [] if kept is None else [kept.find(prompt[:-1]) for prompt in prompts]
        reused = [node.depth for node in nodes] or [0] * len(prompts)
        new = [prompt[start:] for prompt, start in zip(prompts, reused, strict=True)]
        width = max(map(len, new))
        ids_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        mask_PT = torch.zeros(len(prompts), width, dtype=torch.bool)
        for line, ids in enumerate(new):
            ids_PT[line, width - len(ids) :] = torch.tensor(ids)
            mask_PT[line, width - len(ids) :] = True
        position_PT = ((mask_PT.cumsum(dim=1) - 1).clamp(min=0) + torch.tensor(reused)[:, None]).to(
            device
        )
        cache, mask_PT = growing_cache(self.model), mask_PT.to(device)
        if kept is not None:
            cache, past_PT = kept.load(nodes, room=width)
            mask_PT = torch.cat([past_PT, mask_PT], dim=1)
        logits_PV = self._forward(ids_PT.to(device), mask_PT, position_PT, cache)
        if kept is not None:
            total = mask_PT.shape[1]
            kept.save(
                cache,
                [
                    Computed(prompt, reused[line], line, total - len(new[line]))
                    for prompt, line in prompts.items()
                ],
            )
        lines = [prompts[tuple(row.prompt)] for row in rows]
        for row, line in zip(rows, lines, strict=True):
            row.reused = reused[line]
        line_R = torch.tensor(lines, device=device)
        if len(rows) > len(prompts):
            cache.reorder_cache(line_R)  # type: ignore[arg-type]
        return cache, logits_PV[line_R], mask_PT[line_R]

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Return the logits of the last token of each row."""
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1]

    @torch.inference_mode()
    def _measure_cache(self) -> Held:
        """Return the bytes that the cache takes for a row of one token."""
        cache, one = (
            growing_cache(self.model),
            torch.ones(1, 1, dtype=torch.long, device=self.model.device),
        )
        self._forward(one, one, one, cache)
        return bytes_held(cache)


def _computed(row: _Row, index: int, n_prefilled: int, n_fed: int) -> Computed:
    """Say where the keys and values of a row's own tokens are; its last token may not have been fed
    back yet.
    """
    ids = [*row.prompt, *row.ids[:n_fed]]
    return Computed(ids, row.reused, index, n_prefilled - (len(row.prompt) - row.reused))
