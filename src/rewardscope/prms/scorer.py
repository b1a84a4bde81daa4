"""Score and capture with any PRM family through transformers: batching, padding, device and dtype
live here.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rewardscope.errors import TooLong
from rewardscope.models.blocks import shape_of
from rewardscope.models.cache import keeps_prefixes
from rewardscope.models.device import pick_device, pick_dtype
from rewardscope.models.flops import flops_of
from rewardscope.models.forward import padded_ids, run
from rewardscope.models.load import check_vocabulary, load_tokenizer
from rewardscope.models.sites import Edit, Site, residual
from rewardscope.prms import Beyond, find_adapter
from rewardscope.records import Encoded

# Shape legend: B batch, T tokens, N step ends of a batch, D width.
# padded tokens of one forward pass; small enough for a CPU's caches
TOKEN_BUDGET = {"cpu": 4_096, "cuda": 16_384}


class Passed(NamedTuple):
    """What one forward pass of a PRM gave."""

    scores: list[Tensor]
    """Of each input its step scores [S], float32."""
    states: dict[Site, Tensor]
    """Of each watched site the states [B, T, D] of all tokens, padding on the right included."""


class Scored(NamedTuple):
    """What the PRM computed for one input."""

    scores: tuple[float, ...]
    """One score for each step."""
    states: dict[int, Tensor]
    """For each wanted layer the states [T, D] of all tokens: views of the batch on the model's
    device, in its dtype.
    """


class HfScorer:
    """Score solutions with a PRM in this process.

    An input's scores do not depend on what else is scored with it: padding is on the right, and the
    models are causal. `tokens_encoded` counts the tokens of inputs, padding left out.
    """

    reuses = False

    def __init__(
        self,
        name: str,
        *,
        device: str,
        dtype: str = "auto",
        window: int | None = None,
        beyond: Beyond = "drop",
    ) -> None:
        self.adapter = find_adapter(name)
        chosen = pick_device(device)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(name)
        self.model = self.adapter.load(name, device=chosen, dtype=pick_dtype(chosen, dtype))
        check_vocabulary(name, self.tokenizer, self.model)
        shape = shape_of(self.model.config)
        self.window: int = window or shape.window
        self.max_positions = self.window if beyond == "drop" else sys.maxsize
        self.flops = flops_of(self.model.config)
        self.n_layers, self.width = shape.n_layers, shape.width
        self.tokens_encoded = 0
        self._shares = keeps_prefixes(self.model)

    def encode(self, question: str, steps: Sequence[str]) -> Encoded:
        """Encode one solution. Raises: BadRecord; TooLong beyond `max_positions`."""
        return fitting(self.adapter.encode(self.tokenizer, question, steps), self.max_positions)

    def score(self, batch: Sequence[Encoded]) -> list[tuple[float, ...]]:
        """Return one score for each step of each input, in order."""
        scores: list[tuple[float, ...]] = [()] * len(batch)
        by_length = sorted(range(len(batch)), key=lambda index: len(batch[index].input_ids))
        for rows in self.batches(batch, by_length):
            passed = self.forward([batch[index] for index in rows])
            for index, row_scores in zip(rows, passed.scores, strict=True):
                scores[index] = tuple(row_scores.tolist())
        return scores

    def capture(self, batch: Sequence[Encoded], layers: Sequence[int]) -> Iterator[Scored]:
        """Yield scores and states of each input, in order; inputs of like length side by side waste
        the least.

        Layer l is the output of decoder block l, from 0, before any final norm. The states of one
        forward pass are held at a time. Raises: UnknownName for a layer that the model does not
        have.
        """
        for rows in self.batches(batch, range(len(batch))):
            inputs = [batch[index] for index in rows]
            scores, states = self.forward(inputs, watch=residual(layers))
            for row, encoded in enumerate(inputs):
                n_tokens = len(encoded.input_ids)
                own = {layer: states[Site(layer)][row, :n_tokens] for layer in layers}
                yield Scored(tuple(scores[row].tolist()), own)

    def batches(self, batch: Sequence[Encoded], order: Sequence[int]) -> Iterator[list[int]]:
        """Cut `order`, indices of inputs, into runs that one forward pass takes."""
        return runs_within(
            TOKEN_BUDGET[self.model.device.type],
            [len(encoded.input_ids) for encoded in batch],
            order,
        )

    def forward(
        self,
        batch: Sequence[Encoded],
        *,
        watch: Sequence[Site] = (),
        edits: Sequence[Edit] = (),
        grad: bool = False,
        shared: int = 0,
    ) -> Passed:
        """Run one batch; see `models.forward.run`.

        The score is read from the states after the last block, so that no head runs over other
        tokens. With `grad` scores and states are of one graph. Raises: as `run`.
        """
        row_N = [row for row, encoded in enumerate(batch) for _ in encoded.step_ends]
        end_N = [end for encoded in batch for end in encoded.step_ends]
        last = Site(self.n_layers - 1)
        picks = dict.fromkeys(watch, _all) | {last: _all if last in watch else _at(row_N, end_N)}
        ids_BT = padded_ids(batch)
        states = run(self.model, ids_BT, watch=picks, edits=edits, grad=grad, shared=shared).states
        state_ND = states[last][row_N, end_N] if last in watch else states.pop(last)
        with torch.set_grad_enabled(grad):
            scores_N = self.adapter.read_out(self.model, state_ND)
        again = shared * (len(batch) - 1) if self._shares else 0
        self.tokens_encoded += sum(len(encoded.input_ids) for encoded in batch) - again
        scores_N = scores_N if grad else scores_N.cpu()
        counts = [len(encoded.step_ends) for encoded in batch]
        return Passed(list(torch.split(scores_N, counts)), states)


def _all(states_BTD: Tensor) -> Tensor:
    return states_BTD


def _at(row_N: list[int], column_N: list[int]) -> Callable[[Tensor], Tensor]:
    return lambda states_BTD: states_BTD[row_N, column_N]


def runs_within(budget: int, lengths: Sequence[int], order: Sequence[int]) -> Iterator[list[int]]:
    """Cut `order`, indices of inputs, into runs of at most `budget` padded tokens; a run has at
    least one input.
    """
    run: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index])
        if run and longest * (len(run) + 1) > budget:
            yield run
            run, longest = [], lengths[index]
        run.append(index)
    if run:
        yield run


def fitting(encoded: Encoded, max_positions: int) -> Encoded:
    """Return `encoded`. Raises: TooLong where it has more tokens than the model has positions."""
    if len(encoded.input_ids) > max_positions:
        raise TooLong(
            f"the solution has {len(encoded.input_ids)} tokens in the PRM's prompt, the PRM has"
            f" {max_positions} positions"
        )
    return encoded
