"""PRMs trained with TRL: token classifiers of two labels (wrong, right), read at the last token of
the separator after each step.

The form is raw text, no chat: question and steps joined by the separator, and one after the last
step, all tokenized as one text, as in the model cards and the evaluation that the published F1
values come from. Steps are stripped, so that separators stay apart. TRL's separator is a newline,
that of HuggingFaceH4's models an empty line. A model trained with another one says so in its
`tokenizer_config.json`: `"step_separator": "..."`.
Source: huggingface/trl, PRMTrainer; huggingface/ProcessBench, run_eval_prm_trl.py; Uesato et al.
2022, arXiv 2211.14275.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase

from rewardscope.errors import BadRecord
from rewardscope.prms.common import (
    begin_id,
    check_texts,
    head_of,
    last_token,
    linear_direction,
    load_classifier,
    read_two_way,
)
from rewardscope.records import Encoded


class TrlAdapter:
    """What the project knows about TRL's PRMs: names, prompt form, read-out."""

    family: str = "trl"
    names: tuple[str, ...] = (
        "trl-lib/Qwen2-0.5B-Reward-Math-Sheperd",
        "plaguss/Qwen2.5-0.5B-Math-Shepherd-PRM-0.2",
    )
    architectures: tuple[str, ...] = (
        "Qwen2ForTokenClassification",
        "LlamaForTokenClassification",
        "MistralForTokenClassification",
    )
    marks: tuple[str, ...] = ()
    score_range: tuple[float, float] = (0.0, 1.0)
    incremental: bool = True
    linear_head: bool = True
    separator: str = "\n"

    def load(self, name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
        """Load and check a model, its head in float32. Raises: MissingInput, BadRecord."""
        return load_classifier(
            AutoModelForTokenClassification, name, outputs=2, device=device, dtype=dtype
        )

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
    ) -> Encoded:
        """Encode one solution; each step ends at the last token of its separator.

        Raises: BadRecord that says which step is wrong.
        """
        check_texts(tokenizer, question, steps)
        separator = self.separator_of(tokenizer)
        pieces = [text + separator for text in (question, *(step.strip() for step in steps))]
        encoded, begin = (
            tokenizer("".join(pieces), add_special_tokens=False, return_offsets_mapping=True),
            begin_id(tokenizer),
        )
        offsets, stops = (
            encoded["offset_mapping"],
            list(accumulate(len(piece) for piece in pieces))[1:],
        )
        ends = tuple(last_token(offsets, stop) for stop in stops)
        if [offsets[end][1] for end in ends] != stops:
            raise BadRecord(
                f"the tokenizer of {tokenizer.name_or_path} merges the separator {separator!r} with"
                " the step after it"
            )
        return Encoded(
            input_ids=(*begin, *encoded["input_ids"]),
            step_ends=tuple(len(begin) + end for end in ends),
        )

    def separator_of(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return what stands after each step: the family's separator unless the tokenizer's config
        names another.
        """
        return tokenizer.init_kwargs.get("step_separator", self.separator)

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the scores [N], float32 in 0 to 1, of states after the last block: final norm,
        head, softmax, label 1.
        """
        return read_two_way(model, states_ND)

    def direction(self, model: PreTrainedModel) -> Tensor | None:
        """Return the reward direction [D]: the row of label 1 less the row of label 0, times the
        gain of the final norm.
        """
        return linear_direction(model, head_of(model))


class H4Adapter(TrlAdapter):
    """HuggingFaceH4's models, where they differ from TRL's."""

    family = "h4"
    names = (
        "HuggingFaceH4/Qwen2.5-Math-1.5B-Instruct-PRM-0.2",
        "HuggingFaceH4/Qwen2.5-Math-7B-Instruct-PRM-0.2",
    )
    marks = ("instruct-prm-0.2",)
    separator = "\n\n"
