"""RLHFlow's Llama 3.1 PRMs: a chat in which each step is a user's turn and the assistant answers
`+` or `-`.

The first turn is `{question} {step 1}`. All of a solution is one input with `+` as every answer;
the score of a step is p(+) against p(-) at the position before its answer. The form is the same for
models made from Deepseek's and from Mistral's data. The authors aggregate by the mean of the steps.
The config is that of any Llama model, so the family is known by name.
Source: the authors' evaluation code; Xiong et al. 2024, github.com/RLHFlow/RLHF-Reward-Modeling.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from rewardscope.errors import BadRecord
from rewardscope.models.load import load_tokenizer
from rewardscope.prms.common import (
    chat_text,
    check_texts,
    head_of,
    linear_direction,
    load_language_model,
    read_two_way,
    token_ids,
)
from rewardscope.records import Encoded

RIGHT, WRONG = "+", "-"


class RlhflowAdapter:
    """What the project knows about the family: names, prompt form, read-out."""

    family: str = "rlhflow"
    names: tuple[str, ...] = (
        "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data",
        "RLHFlow/Llama3.1-8B-PRM-Mistral-Data",
    )
    architectures: tuple[str, ...] = ("LlamaForCausalLM",)
    marks: tuple[str, ...] = ("prm-deepseek-data", "prm-mistral-data")
    score_range: tuple[float, float] = (0.0, 1.0)
    incremental: bool = True
    linear_head: bool = True

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load and check a model; its head becomes the rows of `-` and `+`, in float32.

        Raises: MissingInput, BadRecord.
        """
        form = _chat_form(load_tokenizer(name))
        return load_language_model(
            LlamaForCausalLM, name, wrong=form.wrong, right=form.right, device=device, dtype=dtype
        )

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
    ) -> Encoded:
        """Encode one solution; each step ends before the assistant's `+`.

        Raises: BadRecord that says which step is wrong.
        """
        check_texts(tokenizer, question, steps)
        first, *others = (step.strip() for step in steps)
        turns = [
            (role, text)
            for step in (f"{question} {first}", *others)
            for role, text in (("user", step), ("assistant", RIGHT))
        ]
        ids, form = token_ids(tokenizer, chat_text(tokenizer, turns)), _chat_form(tokenizer)
        answer = (*form.opening, form.right)
        ends = tuple(
            end - 2
            for end in range(len(answer), len(ids) + 1)
            if tuple(ids[end - len(answer) : end]) == answer
        )
        assert len(ends) == len(steps), (len(ends), len(steps))
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


class _ChatForm(NamedTuple):
    opening: tuple[int, ...]
    """What stands before an assistant's answer; it begins with a special token, so no user's text
    can spell it.
    """
    right: int
    wrong: int


@cache
def _chat_form(tokenizer: PreTrainedTokenizerBase) -> _ChatForm:
    """Work out how the assistant's turn opens and the ids of `+` and `-`.

    Raises: BadRecord where the form is not of the family.
    """
    asked = [("user", "x")]
    before, after = (
        token_ids(tokenizer, chat_text(tokenizer, asked, add_generation_prompt=g))
        for g in (False, True)
    )
    right, wrong = token_ids(tokenizer, RIGHT), token_ids(tokenizer, WRONG)
    opening = after[len(before) :]
    if (
        not opening
        or opening[0] not in tokenizer.all_special_ids
        or len(right) != 1
        or len(wrong) != 1
    ):
        raise BadRecord(
            f"the tokenizer of {tokenizer.name_or_path} has not the chat form and the tokens of an"
            " RLHFlow PRM"
        )
    return _ChatForm(tuple(opening), right[0], wrong[0])
