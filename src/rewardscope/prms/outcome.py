r"""Outcome reward models: a sequence classifier of one output, read at the end of the whole
solution.

The form is the tokenizer's chat: the question, and the solution with its steps joined by an empty
line. As in transformers' own class the value is read at the last token that is not padding, after
the tokens that close the turn; it is a logit without bounds. Only that value is an outcome. So that
a solution has as many scores as steps, an earlier step is given the value at its own last token,
which the model was not trained on: aggregate by `last`. When a step is appended, the closing tokens
move, and the end of the text may be tokenized anew: these models are not incremental, and a search
scores each prefix as a solution of its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rewardscope.errors import BadRecord
from rewardscope.prms.common import (
    chat_text,
    check_texts,
    head_of,
    last_token,
    linear_direction,
    load_classifier,
    read_logits,
)
from rewardscope.records import Encoded

_BETWEEN = "\n\n"


class OutcomeAdapter:
    """What the project knows about the family: names, prompt form, read-out."""

    family: str = "outcome"
    names: tuple[str, ...] = (
        "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2",
        "Skywork/Skywork-Reward-V2-Llama-3.1-8B",
    )
    architectures: tuple[str, ...] = (
        "Qwen2ForSequenceClassification",
        "LlamaForSequenceClassification",
        "MistralForSequenceClassification",
    )
    marks: tuple[str, ...] = ()
    score_range: tuple[float, float] = (float("-inf"), float("inf"))
    incremental: bool = False
    linear_head: bool = True

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load and check a model, its head in float32. Raises: MissingInput, BadRecord."""
        return load_classifier(
            AutoModelForSequenceClassification, name, outputs=1, device=device, dtype=dtype
        )

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
    ) -> Encoded:
        """Encode one solution; the last step ends where the model is read.

        Raises: BadRecord that says which step is wrong.
        """
        check_texts(tokenizer, question, steps)
        solution = _BETWEEN.join(steps).strip()
        text = chat_text(tokenizer, [("user", question), ("assistant", solution)])
        start = text.rfind(solution)
        if start < 0:
            raise BadRecord(
                f"the chat template of {tokenizer.name_or_path} changes the solution, so its steps"
                " cannot be found"
            )
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = encoded["input_ids"]
        lengths = [len(_BETWEEN.join(steps[:count]).strip()) for count in range(1, len(steps))]
        ends = [last_token(encoded["offset_mapping"], start + length) for length in lengths]
        last = next(
            position
            for position in reversed(range(len(ids)))
            if ids[position] != tokenizer.pad_token_id
        )
        return Encoded(input_ids=tuple(ids), step_ends=(*ends, last))

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the values [N], float32 without bounds, of states after the last block: final
        norm, head.
        """
        return read_logits(model, head_of(model), states_ND)[:, 0]

    def direction(self, model: PreTrainedModel) -> Tensor | None:
        """Return the reward direction [D]: the row of the head times the gain of the final norm."""
        return linear_direction(model, head_of(model))
