"""Skywork-o1-Open-PRM: a Qwen2 decoder with a value head of one output, read at a newline token
after each step.

The form is plain text: the beginning-of-text token, the question and a newline, then each step
followed by a newline. Each piece is tokenized by itself, as in the authors' code; a newline within
a step belongs to the step and is not read.
Source: github.com/SkyworkAI/skywork-o1-prm-inference.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2Model,
    Qwen2PreTrainedModel,
)

from rewardscope.errors import BadRecord
from rewardscope.models.load import load_checked
from rewardscope.prms.common import (
    check_texts,
    encode_pieces,
    finish_loading,
    linear_direction,
    read_logits,
)
from rewardscope.records import Encoded


class Qwen2ForPrmModel(Qwen2PreTrainedModel):
    """The published architecture; its name and its state-dict keys (`model.*`, `v_head.summary.*`)
    are the published ones.
    """

    _keys_to_ignore_on_load_unexpected = [r"^lm_head\."]  # noqa: RUF012

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.v_head = nn.ModuleDict({"summary": nn.Linear(config.hidden_size, 1)})
        self.post_init()


class SkyworkAdapter:
    """What the project knows about the family: names, prompt form, read-out."""

    family: str = "skywork-o1"
    names: tuple[str, ...] = (
        "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B",
        "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B",
    )
    architectures: tuple[str, ...] = ("Qwen2ForPrmModel",)
    marks: tuple[str, ...] = ()
    score_range: tuple[float, float] = (0.0, 1.0)
    incremental: bool = True
    linear_head: bool = True

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load and check a model, its value head in float32. Raises: MissingInput, BadRecord."""
        model = load_checked(Qwen2ForPrmModel, name, dtype=dtype)
        finish_loading(name, model, _head(model), device=device)
        return model

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
    ) -> Encoded:
        """Encode one solution; each step ends at the newline after it.

        Raises: BadRecord that says which step is wrong.
        """
        check_texts(tokenizer, question, steps)
        if not tokenizer.bos_token:
            raise BadRecord(
                f"the tokenizer of {tokenizer.name_or_path} has no beginning-of-text token, so it"
                " is not of Skywork-o1-Open-PRM"
            )
        return encode_pieces(tokenizer, f"{tokenizer.bos_token}{question}\n", steps, separator="\n")

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the scores [N], float32 in 0 to 1, of states after the last block: final norm,
        value head, sigmoid.
        """
        return read_logits(model, _head(model), states_ND)[:, 0].sigmoid()

    def direction(self, model: PreTrainedModel) -> Tensor | None:
        """Return the reward direction [D]: the row of the value head times the gain of the final
        norm.
        """
        return linear_direction(model, _head(model))


def _head(model: PreTrainedModel) -> nn.Linear:
    assert isinstance(model, Qwen2ForPrmModel), type(model)
    head = model.v_head["summary"]
    assert isinstance(head, nn.Linear), type(head)
    return head
