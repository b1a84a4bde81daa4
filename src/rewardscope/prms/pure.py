"""PURE: a token classifier trained with TRL, whose score is p(right) - p(wrong), from -1 to 1.

The form is raw text: the question, then each step, stripped, and a newline token, each piece
tokenized by itself. The authors split steps at empty lines and call a step right where its score is
above 0.
Source: the model card; Cheng et al. 2025, arXiv 2504.15275.
"""

from collections.abc import Sequence

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardscope.prms.common import check_texts, encode_pieces
from rewardscope.prms.token_classification import TrlAdapter
from rewardscope.records import Encoded


class PureAdapter(TrlAdapter):
    """What the project knows about PURE's models, where they differ from TRL's."""

    family = "pure"
    names = ("jinachris/PURE-PRM-7B", "jinachris/Qwen2.5-Math-7B-PRM800K")
    marks = ("pure-prm", "qwen2.5-math-7b-prm800k")
    score_range = (-1.0, 1.0)

    def encode(
        self, tokenizer: PreTrainedTokenizerBase, question: str, steps: Sequence[str]
    ) -> Encoded:
        """Encode one solution; each step ends at the last token of its separator.

        Raises: BadRecord that says which step is wrong.
        """
        check_texts(tokenizer, question, steps)
        return encode_pieces(
            tokenizer,
            question,
            [step.strip() for step in steps],
            separator=self.separator_of(tokenizer),
        )

    def read_out(self, model: PreTrainedModel, states_ND: Tensor) -> Tensor:
        """Return the scores [N], float32 in -1 to 1, of states after the last block: final norm,
        head, softmax, right less wrong.
        """
        return 2.0 * super().read_out(model, states_ND) - 1.0
