"""The text of each token of an input."""

from collections.abc import Callable, Sequence
from functools import cache

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"  # what a decoder shows for a part of a character
_MAX_PIECES = 4  # bytes of the longest UTF-8 character
ReadTokens = Callable[[Sequence[int]], list[str]]


def token_reader(tokenizer: PreTrainedTokenizerBase) -> ReadTokens:
    """Return a function that gives the text of each token; joined, the texts are the text of all.

    A character that is spelled by several tokens is given to the last of them; the others are "".
    """

    def decode(ids: Sequence[int]) -> str:
        text = tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str), type(text)
        return text

    @cache
    def whole(token: int) -> str | None:
        """Return the text of a token, or None where it ends within a character."""
        text = decode([token])
        return None if text.endswith(_UNFINISHED) else text

    def read(ids: Sequence[int]) -> list[str]:
        texts: list[str] = []
        held: list[int] = []
        for token in ids:
            text = None if held else whole(token)
            if text is None:
                held.append(token)
                text = decode(held)
                if text.endswith(_UNFINISHED) and len(held) < _MAX_PIECES:
                    text = ""
                else:
                    held = []
            texts.append(text)
        if held:
            texts[-1] = decode(held)
        return texts

    return read
