"""Math-Shepherd: a Mistral language model that says `+` or `-` at a tag after each step.

The form is plain text: `{question} Step 1: ... ки`, a newline, `Step 2: ... ки`. The score is p(+)
against p(-) at each ` ки`. A step that has its label already keeps it. Of the unembedding only the
two rows that are read are kept. The config is that of any Mistral model, so the family is known by
name.
Source: the model card; Wang et al. 2024, arXiv 2312.08935.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import MistralForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from rewardscope.errors import BadRecord
from rewardscope.models.load import load_tokenizer
from rewardscope.prms.common import (
    begin_id,
    check_texts,
    head_of,
    linear_direction,
    load_language_model,
    named_texts,
    read_two_way,
    refuse_marker,
    token_ids,
)
from rewardscope.records import Encoded

TAG = "ки"
_LABEL = re.compile(r"step \d", re.IGNORECASE)


class MathShepherdAdapter:
    """What the project knows about the family: names, prompt form, read-out."""

    family: str = "math-shepherd"
    names: tuple[str, ...] = ("peiyi9979/math-shepherd-mistral-7b-prm",)
    architectures: tuple[str, ...] = ("MistralForCausalLM",)
    marks: tuple[str, ...] = ("math-shepherd",)
    score_range: tuple[float, float] = (0.0, 1.0)
    incremental: bool = True
    linear_head: bool = True

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load and check a model; its head becomes the rows of `-` and `+`, in float32.

        Raises: MissingInput, BadRecord.
        """
        ids = _family_ids(load_tokenizer(name))
        return load_language_model(
            MistralForCausalLM, name, wrong=ids.wrong, right=ids.right, device=device, dtype=dtype
        )

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
    ) -> Encoded:
        """Encode one solution; each step ends at its ` ки`.

        Raises: BadRecord that says which step is wrong.
        """
        check_texts(tokenizer, question, steps)
        tag = _family_ids(tokenizer).tag
        solution = "\n".join(
            f"{_labelled(number, step.strip())} {TAG}" for number, step in enumerate(steps, start=1)
        )
        ids = begin_id(tokenizer) + token_ids(tokenizer, f"{question} {solution}")
        ends = tuple(position for position, token in enumerate(ids) if token == tag)
        if len(ends) != len(steps):
            # Words with these letters are other tokens and do no harm; only the tag itself would be
            # read as a step's end.
            for place, text in named_texts(question, steps):
                if tag in token_ids(tokenizer, text):
                    refuse_marker(place, TAG)
            raise BadRecord(
                f"the tokenizer of {tokenizer.name_or_path} finds {len(ends)} {TAG!r} after"
                f" {len(steps)} steps"
            )
        return Encoded(input_ids=tuple(ids), step_ends=ends)

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the scores [N], float32 in 0 to 1, of states after the last block: final norm, two
        rows, softmax, class `+`.
        """
        return read_two_way(model, states_ND)

    def direction(self, model: PreTrainedModel) -> Tensor | None:
        """Return the reward direction [D]: the row of `+` less the row of `-`, times the gain of
        the final norm.
        """
        return linear_direction(model, head_of(model))


def _labelled(number: int, step: str) -> str:
    return step if _LABEL.match(step) else f"Step {number}: {step}"


class _FamilyIds(NamedTuple):
    tag: int
    right: int
    wrong: int


@cache
def _family_ids(tokenizer: PreTrainedTokenizerBase) -> _FamilyIds:
    """Return the ids of ` ки`, ` +` and ` -`.

    Raises: BadRecord where one of them is not one token.
    """
    ids = [token_ids(tokenizer, text) for text in (TAG, "+", "-")]
    if any(len(one) != 1 for one in ids):
        raise BadRecord(
            f"the tokenizer of {tokenizer.name_or_path} has no token {TAG!r}, '+' or '-', so it is"
            " not of Math-Shepherd"
        )
    return _FamilyIds(*(one[0] for one in ids))
