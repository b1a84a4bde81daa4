"""Score and capture with any PRM family through transformers: batching, padding, device and dtype
live here.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from rewardscope.errors import TooLong
from rewardscope.models.blocks import find_blocks
from rewardscope.models.device import pick_device, pick_dtype
from rewardscope.models.flops import flops_of
from rewardscope.models.hooks import capture
from rewardscope.models.load import load_tokenizer
from rewardscope.prms import Beyond, find_adapter
from rewardscope.records import Encoded

# Shape legend: B batch, T tokens, N step ends of a batch, D width.
# padded tokens of one forward pass; small enough for a CPU's caches
TOKEN_BUDGET = {"cpu": 4_096, "cuda": 16_384}


class Captured(NamedTuple):
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
        self, name: str, *, device: str, window: int | None = None, beyond: Beyond = "drop"
    ) -> None:
        self.adapter = find_adapter(name)
        chosen = pick_device(device)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(name)
        self.model = self.adapter.load(name, device=chosen, dtype=pick_dtype(chosen))
        self.window: int = window or self.model.config.max_position_embeddings
        self.max_positions = self.window if beyond == "drop" else sys.maxsize
        self.flops = flops_of(self.model.config)
        self.n_layers: int = self.model.config.num_hidden_layers
        self.width: int = self.model.config.hidden_size
        self.tokens_encoded = 0
        self._decoder = find_blocks(self.model).decoder

    def encode(self, question: str, steps: Sequence[str]) -> Encoded:
        """Encode one solution. Raises: BadRecord; TooLong beyond `max_positions`."""
        return fitting(self.adapter.encode(self.tokenizer, question, steps), self.max_positions)

    def score(self, batch: Sequence[Encoded]) -> list[tuple[float, ...]]:
        """Return one score for each step of each input, in order."""
        scores: list[tuple[float, ...]] = [()] * len(batch)
        by_length = sorted(range(len(batch)), key=lambda index: len(batch[index].input_ids))
        for rows in self._batches(batch, by_length):
            for index, (row_scores, _) in zip(
                rows, self._forward([batch[index] for index in rows], ()), strict=True
            ):
                scores[index] = row_scores
        return scores

    def capture(self, batch: Sequence[Encoded], layers: Sequence[int]) -> Iterator[Captured]:
        """Yield scores and states of each input, in order; inputs of like length side by side waste
        the least.

        Layer l is the output of decoder block l, from 0, before any final norm. The states of one
        forward pass are held at a time. Raises: UnknownName for a layer that the model does not
        have.
        """
        for rows in self._batches(batch, range(len(batch))):
            yield from self._forward([batch[index] for index in rows], layers)

    def _batches(self, batch: Sequence[Encoded], order: Sequence[int]) -> Iterator[list[int]]:
        return runs_within(
            TOKEN_BUDGET[self.model.device.type],
            [len(encoded.input_ids) for encoded in batch],
            order,
        )

    @torch.no_grad()
    def _forward(self, batch: Sequence[Encoded], layers: Sequence[int]) -> list[Captured]:
        """Run one batch.

        The score is read from the states after the last block, so that no head runs over other
        tokens.
        """
        lengths, device = [len(encoded.input_ids) for encoded in batch], self.model.device
        ids_BT = padded_ids(batch)
        row_N = [row for row, encoded in enumerate(batch) for _ in encoded.step_ends]
        end_N = [end for encoded in batch for end in encoded.step_ends]
        last = self.n_layers - 1
        with capture(self.model, sorted({*layers, last})) as states:
            self._decoder(input_ids=ids_BT.to(device), use_cache=False)
        scores_N = self.adapter.read_out(self.model, states[last][row_N, end_N])
        self.tokens_encoded += sum(lengths)
        per_input = torch.split(scores_N.cpu(), [len(encoded.step_ends) for encoded in batch])
        return [
            Captured(
                tuple(per_input[row].tolist()),
                {layer: states[layer][row, : lengths[row]] for layer in layers},
            )
            for row in range(len(batch))
        ]


def padded_ids(batch: Sequence[Encoded]) -> Tensor:
    """Return the ids [B, T] of inputs, with 0 to the right of the shorter ones.

    The models are causal, so they need no mask.
    """
    return pad_sequence([torch.tensor(encoded.input_ids) for encoded in batch], batch_first=True)


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
