"""What the engines share, so that they agree: which prompts fit, what ends a generation, how ids
become text.
"""

from collections.abc import Sequence
from typing import final

from transformers import GenerationConfig, PreTrainedTokenizerBase

from rewardscope.errors import TooLong
from rewardscope.models.load import load_config
from rewardscope.paths import hub_name
from rewardscope.problems.thinking import MARKS
from rewardscope.records import Completion, Finish

_CONTEXT = 4  # ordinary tokens before a text that settle how its first token is decoded
_BYTES_OF_A_CHARACTER = 4  # a token may hold as little as one of them
_PART_OF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"


def check_prompts(prompts: Sequence[Sequence[int]], *, max_positions: int) -> None:
    """Raises: TooLong for a prompt that leaves no position for a token."""
    for index, prompt in enumerate(prompts):
        assert len(prompt) > 0, f"prompt {index} is empty"
        if len(prompt) >= max_positions:
            raise TooLong(
                f"prompt {index} has {len(prompt)} tokens, the policy has {max_positions} positions"
            )


def end_token_ids(model: str, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return every id that ends a generation: those of the generation config (or else the config)
    and the tokenizer's own.
    """
    hub_id, revision = hub_name(model)
    try:
        config = GenerationConfig.from_pretrained(hub_id, revision=revision or "main")
    except OSError:  # the file is optional
        config = GenerationConfig.from_model_config(load_config(model))
    listed = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    own = tokenizer.eos_token_id
    return frozenset(token for token in (*listed, own) if isinstance(token, int))


@final
class Detokenizer:
    """Turn generated ids into text, special tokens left out but for those that part thoughts from
    the solution.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        marked = {index for index, token in added.items() if token.special} | set(
            tokenizer.all_special_ids
        )
        self._left_out = frozenset(
            index for index in marked if index not in added or added[index].content not in MARKS
        )
        self._plain: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]

    def text(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """Return the text that `ids` add after the tokens `before`.

        Some tokenizers drop the space of the first token of a text, so it is decoded together with
        what comes before.
        """
        context = [token for token in before[-4 * _CONTEXT :] if token not in self._left_out][
            -_CONTEXT:
        ]
        return self._decode([*context, *ids])[len(self._decode(context)) :]

    def token(self, token: int) -> str:
        """Return the text of one token amid others."""
        return self.text(self._plain, [token])

    def completion(
        self, prompt: Sequence[int], ids: Sequence[int], *, finish: Finish
    ) -> Completion:
        """Return the completion of `prompt` by `ids`, which hold no end token."""
        return Completion(text=self.text(prompt, ids), token_ids=tuple(ids), finish=finish)

    def _decode(self, ids: Sequence[int]) -> str:
        shown = [token for token in ids if token not in self._left_out]
        text = self._tokenizer.decode(
            shown, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str), type(text)
        return text


@final
class StopFinder:
    """Tell whether a token completes a stop string. Most tokens are told by their id alone."""

    def __init__(self, detokenizer: Detokenizer, stop: Sequence[str]) -> None:
        assert all(stop), "a stop string is empty"
        self._detokenizer, self._stop = detokenizer, tuple(stop)
        self._endings = {text[-1] for text in stop} | {_PART_OF_A_CHARACTER}
        self._window = _BYTES_OF_A_CHARACTER * max(map(len, stop), default=0) + _CONTEXT
        self._may_complete: dict[int, bool] = {}

    def completes(self, prompt: Sequence[int], ids: Sequence[int]) -> bool:
        """Say whether the last of the generated `ids` completes a stop string."""
        if not self._stop or not self._is_candidate(ids[-1]):
            return False
        start = max(0, len(ids) - self._window)
        text = self._detokenizer.text(ids[:start] if start else prompt, ids[start:])
        return any(stop in text for stop in self._stop)

    def _is_candidate(self, token: int) -> bool:
        if token not in self._may_complete:
            text = self._detokenizer.token(token)
            self._may_complete[token] = any(character in text for character in self._endings)
        return self._may_complete[token]
