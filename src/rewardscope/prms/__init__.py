"""Process reward models behind one protocol: a file per family, a scorer for all of them."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardscope.records import Encoded

DEFAULT_PRM = "Qwen/Qwen2.5-Math-PRM-7B"


class PrmAdapter(Protocol):
    """What one PRM family knows. Batching, padding, device, dtype and capture stay in `scorer.py`."""

    family: str

    def serves(self, name: str, architectures: Sequence[str]) -> bool:
        """Say whether a model with this hub id or folder, and these `architectures` of its config, is of the family."""
        ...

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load the model in evaluation mode. Raises: MissingInput, BadRecord where the head's keys do not fit."""
        ...

    def encode(self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]) -> Encoded:
        """Encode one solution. Raises: BadRecord for no step, an empty step, or a step that holds a marker of the prompt."""
        ...

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the scores [N] of residual-stream states [N, D] taken after the last block: final norm, head, squashing."""
        ...

    def direction(self, model: PreTrainedModel) -> Tensor | None:
        """Return the reward direction [D] of a linear head, or None where the head is not linear."""
        ...


class Scorer(Protocol):
    """Score solutions with one PRM, whatever runs below. `max_positions` is the longest input in tokens."""

    tokenizer: PreTrainedTokenizerBase
    max_positions: int
    tokens_encoded: int  # running count over all calls

    def encode(self, question: str, steps: Sequence[str]) -> Encoded:
        """Encode one solution. Raises: BadRecord; TooLong beyond `max_positions`."""
        ...

    def score(self, batch: Sequence[Encoded]) -> list[tuple[float, ...]]:
        """Return one score in the family's range for each step of each input, in order."""
        ...
