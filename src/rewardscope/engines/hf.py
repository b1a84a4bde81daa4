"""Generate with transformers' own models: batched, key-value cache, one prefill for all samples of a prompt.

Each sample has its own stream of uniform numbers, one a token, so what it says does not depend on what else is in the batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from rewardscope.engines.cache import group_queries, growing_cache
from rewardscope.engines.completions import Detokenizer, StopFinder, check_prompts, end_token_ids
from rewardscope.models.load import load_causal_lm, load_tokenizer, pick_device, pick_dtype
from rewardscope.records import Completion, Finish

# Shape legend: R rows (samples in flight), P prompts, T tokens, V vocabulary.
MAX_ROWS = {"cpu": 128, "cuda": 256}
PREFILL_TOKENS = 32_768  # padded tokens of one prefill, at most
CPU_CACHE_BYTES = 4 << 30
GPU_CACHE_SHARE = 0.5  # of the memory that is free once the model is loaded
KEPT_ENDED = 1 / 8  # share of ended rows that may stay in the batch: leaving costs a copy of the cache


@dataclass(slots=True, kw_only=True)
class _Row:
    """One sample in the making."""

    prompt_index: int
    prompt: Sequence[int]
    room: int
    seed: tuple[int, int]
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

    def __init__(self, model: str, *, device: str) -> None:
        chosen = pick_device(device)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model)
        self._model = load_causal_lm(model, device=chosen, dtype=pick_dtype(chosen))
        group_queries(self._model)
        self.max_positions: int = self._model.config.get_text_config().max_position_embeddings
        self._detokenizer = Detokenizer(self.tokenizer)
        self._ends = end_token_ids(model, self.tokenizer)
        self._bytes_per_token = self._measure_cache()

    def generate(
        self, prompts: Sequence[Sequence[int]], *, n: int, stop: tuple[str, ...], temperature: float, top_p: float,
        max_tokens: int, seeds: Sequence[int],
    ) -> list[list[Completion]]:  # fmt: skip
        """Return `n` completions for each prompt, in order; see `Engine.generate`."""
        check_prompts(prompts, max_positions=self.max_positions)
        samples = n if temperature > 0 else 1  # greedy samples are all the same
        rows = [
            _Row(prompt_index=index, prompt=prompt, room=min(max_tokens, self.max_positions - len(prompt)), seed=(seed, sample))
            for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
            for sample in range(samples)
        ]
        finder = StopFinder(self._detokenizer, stop)
        for batch in self._batches(sorted(rows, key=lambda row: -len(row.prompt))):
            self._run(batch, temperature=temperature, top_p=top_p, finder=finder)
        done = [self._completion(row) for row in rows]
        return [done[index * samples : (index + 1) * samples] * (n // samples) for index in range(len(prompts))]

    def _completion(self, row: _Row) -> Completion:
        assert row.finish is not None
        return self._detokenizer.completion(row.prompt, row.ids, finish=row.finish)

    def _batches(self, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
        """Cut rows, longest prompt first, into batches that fit in memory; a batch has at least one row."""
        device = self._model.device
        budget = GPU_CACHE_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else CPU_CACHE_BYTES
        batch: list[_Row] = []
        for row in rows:
            if batch:
                width, room = len(batch[0].prompt), max(row.room, batch[0].room)
                n_prompts = len({r.prompt_index for r in batch} | {row.prompt_index})
                cache_bytes = (len(batch) + 1) * (width + room) * self._bytes_per_token
                if len(batch) >= MAX_ROWS[device.type] or n_prompts * width > PREFILL_TOKENS or cache_bytes > budget:
                    yield batch
                    batch = []
            batch.append(row)
        if batch:
            yield batch

    @torch.inference_mode()
    def _run(self, rows: Sequence[_Row], *, temperature: float, top_p: float, finder: StopFinder) -> None:
        """Generate all of a batch. Rows that ended leave it."""
        device, longest = self._model.device, max(row.room for row in rows)
        streams = [np.random.default_rng(row.seed).random(longest) for row in rows] if temperature > 0 else []
        uniform_RT = torch.from_numpy(np.stack(streams)).to(device) if streams else None
        cache, logits_RV, mask_RT = self._prefill(rows)
        position_R = mask_RT.sum(dim=1)
        live = list(rows)
        for step in range(longest):
            token_R = pick_tokens(logits_RV, None if uniform_RT is None else uniform_RT[:, step], temperature=temperature, top_p=top_p)
            for row, token in zip(live, token_R.tolist(), strict=True):
                if row.finish is None:
                    row.take(token, ends=self._ends, finder=finder)
            kept = [index for index, row in enumerate(live) if row.finish is None]
            if not kept:
                break
            if len(kept) <= (1 - KEPT_ENDED) * len(live):
                kept_R = torch.tensor(kept, device=device)
                cache.reorder_cache(kept_R)  # type: ignore[arg-type]
                token_R, position_R, mask_RT = token_R[kept_R], position_R[kept_R], mask_RT[kept_R]
                uniform_RT = None if uniform_RT is None else uniform_RT[kept_R]
                live = [live[index] for index in kept]
            mask_RT = torch.cat([mask_RT, mask_RT.new_ones(len(live), 1)], dim=1)
            logits_RV = self._forward(token_R[:, None], mask_RT, (position_R + step)[:, None], cache)

    def _prefill(self, rows: Sequence[_Row]) -> tuple[Cache, Tensor, Tensor]:
        """Run each prompt once; return the cache, the logits [R, V] of the first token and the padding mask [R, T] of all rows."""
        prompts = {row.prompt_index: row.prompt for row in rows}
        width = max(map(len, prompts.values()))
        ids_PT = torch.zeros(len(prompts), width, dtype=torch.long)
        mask_PT = torch.zeros(len(prompts), width, dtype=torch.bool)
        for line, prompt in enumerate(prompts.values()):
            ids_PT[line, width - len(prompt) :] = torch.tensor(prompt)
            mask_PT[line, width - len(prompt) :] = True
        position_PT = (mask_PT.cumsum(dim=1) - 1).clamp(min=0)
        device, cache = self._model.device, growing_cache(self._model)
        logits_PV = self._forward(ids_PT.to(device), mask_PT.to(device), position_PT.to(device), cache)
        line_of = {index: line for line, index in enumerate(prompts)}
        line_R = torch.tensor([line_of[row.prompt_index] for row in rows], device=device)
        if len(rows) > len(prompts):
            cache.reorder_cache(line_R)  # type: ignore[arg-type]
        return cache, logits_PV[line_R], mask_PT.to(device)[line_R]

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Return the logits of the last token of each row."""
        out = self._model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        return out.logits[:, -1]

    @torch.inference_mode()
    def _measure_cache(self) -> int:
        """Return the bytes that the cache takes for a token."""
        cache, one = growing_cache(self._model), torch.ones(1, 1, dtype=torch.long, device=self._model.device)
        self._forward(one, one, one, cache)
        kept: list[Any] = [layer for layer in cache.layers if layer.keys is not None]  # type: ignore[attr-defined]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in kept)


def pick_tokens(logits_RV: Tensor, uniform_R: Tensor | None, *, temperature: float, top_p: float) -> Tensor:
    """Return a token for each row: the best at temperature 0, else the one where the cumulative distribution passes `uniform_R`.

    The distribution is the softmax at the temperature, cut to the fewest tokens that hold `top_p` of it. `uniform_R` is
    float64 in [0, 1). Source of the cut: arXiv 1904.09751 section 3.1.
    """
    if temperature == 0:
        return logits_RV.argmax(dim=-1)
    assert uniform_R is not None
    prob_RV = (logits_RV.float() / temperature).softmax(dim=-1)
    order_RV = None
    if top_p < 1:
        prob_RV, order_RV = prob_RV.sort(dim=-1, descending=True, stable=True)
    cumulative_RV = prob_RV.double().cumsum(dim=-1)
    mass_R = cumulative_RV[:, -1:]
    if top_p < 1:
        last_R = torch.searchsorted(cumulative_RV, torch.full_like(mass_R, top_p)).clamp(max=prob_RV.shape[-1] - 1)
        mass_R = cumulative_RV.gather(-1, last_R)
    place_R = torch.searchsorted(cumulative_RV, uniform_R[:, None] * mass_R, right=True).clamp(max=prob_RV.shape[-1] - 1)
    return (place_R if order_RV is None else order_RV.gather(-1, place_R)).squeeze(-1)
