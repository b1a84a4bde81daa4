r"""The Qwen2.5-Math-PRM family: transformers' own Qwen2 decoder with a two-layer head, read at
`<extra_0>` after each step.

The published code is not run: under transformers 5 it computes with zeroed rotary frequencies and
gives every step the same score. Weights are loaded by name, and a loaded model must prove that its
frequencies and its scores are sound.
"""

from collections.abc import Sequence
from functools import cache

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
from rewardscope.prms.common import chat_text, check_texts, finish_loading, read_logits, token_ids
from rewardscope.records import Encoded

# Shape legend: B batch, T tokens, N positions that are read, D width.
STEP_TAG = "<extra_0>"
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
    """The published architecture; its name and its state-dict keys (`model.*`, `score.0.*`,
    `score.2.*`) are the published ones.
    """

    _keys_to_ignore_on_load_unexpected = [r"^lm_head\."]  # noqa: RUF012

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.model = Qwen2Model(config)
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        self.post_init()

    def forward(self, input_ids: Tensor, row_N: Tensor, column_N: Tensor) -> Tensor:
        """Return the logits [N, 2] (wrong, right) at the positions (row, column) of right-padded
        ids [B, T].
        """
        states_BTD = self.model(input_ids=input_ids, use_cache=False).last_hidden_state
        return self.score(states_BTD[row_N, column_N])


QwenPrm = Qwen2ForProcessRewardModel


class QwenAdapter:
    """What the project knows about the family: names, prompt form, read-out."""

    family: str = "qwen"
    names: tuple[str, ...] = (
        "Qwen/Qwen2.5-Math-PRM-7B",
        "Qwen/Qwen2.5-Math-PRM-72B",
        "Qwen/Qwen2.5-Math-7B-PRM800K",
    )
    architectures: tuple[str, ...] = ("Qwen2ForProcessRewardModel",)
    marks: tuple[str, ...] = ()
    score_range: tuple[float, float] = (0.0, 1.0)
    incremental: bool = True
    linear_head: bool = False
    system: str | None = SYSTEM

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load and check a model, its head in float32.

        Raises: MissingInput where there are no weights; BadRecord where they do not fit, or where
        what they compute is unsound.
        """
        model = load_checked(QwenPrm, name, dtype=dtype)
        finish_loading(name, model, model.score, device=device)
        return model

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
    ) -> Encoded:
        """Encode one solution; each step ends at its `<extra_0>`.

        Raises: BadRecord that says which step is wrong.
        """
        check_texts(tokenizer, question, steps, marker=STEP_TAG)
        turns = [("user", question), ("assistant", STEP_TAG.join([*steps, ""]))]
        if self.system is not None:
            turns.insert(0, ("system", self.system))
        ids, tag = token_ids(tokenizer, chat_text(tokenizer, turns)), step_tag_id(tokenizer)
        ends = tuple(position for position, token in enumerate(ids) if token == tag)
        assert len(ends) == len(steps), (len(ends), len(steps))
        return Encoded(input_ids=tuple(ids), step_ends=ends)

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the scores [N], float32 in 0 to 1, of states after the last block: final norm,
        head, softmax, class `right`.
        """
        assert isinstance(model, QwenPrm), type(model)
        return read_logits(model, model.score, states_ND).softmax(dim=-1)[:, 1]

    def direction(self, model: PreTrainedModel) -> Tensor | None:
        """Return None: the head is an MLP, so its reward direction depends on the state."""
        return None


@cache
def step_tag_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of `<extra_0>`.

    Raises: BadRecord where it is not one token of the tokenizer.
    """
    token = tokenizer.convert_tokens_to_ids(STEP_TAG)
    if not isinstance(token, int) or tokenizer.convert_ids_to_tokens(token) != STEP_TAG:
        raise BadRecord(
            f"the tokenizer of {tokenizer.name_or_path} has no token {STEP_TAG}, so it is not of a"
            " Qwen2.5-Math-PRM"
        )
    return token
