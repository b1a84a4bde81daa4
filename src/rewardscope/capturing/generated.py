"""Where the steps of a trace end among the tokens that the policy generated."""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import final

from transformers import PreTrainedTokenizerBase

from rewardscope.engines.completions import Detokenizer
from rewardscope.records import Trace

_PART_OF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"
_BYTES_OF_A_CHARACTER = 4
# what stands between steps and is in none: the marks round thoughts and the channels of gpt-oss
_MARKUP = re.compile(
    r"</?think>|<\|start\|>\w*|<\|channel\|>[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"|<\|(?:end|call|return|constrain|message|channel)\|>"
)


@final
class StepFinder:
    """Find the steps of traces among the tokens of one policy."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._n_tokens = len(tokenizer)
        self._known: dict[int, str] = {}

    def ends(self, trace: Trace, prompt: Sequence[int]) -> list[int] | None:
        """Return for each step the position, in `trace.token_ids`, of the last token that holds a
        part of it.

        None where there are no ids, or where the steps are not in their text: they are those of
        another tokenizer.
        """
        ids = trace.token_ids
        if ids is None or any(not 0 <= token < self._n_tokens for token in ids):
            return None
        texts = self._texts(prompt, ids)
        stops = _stops(trace, "".join(texts))
        if stops is None:
            return None
        ends, position, after = [], 0, list(accumulate(map(len, texts)))
        for stop in stops:
            while after[position] < stop:
                position += 1
            ends.append(position)
        return ends

    def _texts(self, prompt: Sequence[int], ids: Sequence[int]) -> list[str]:
        """Return what each token adds to the text; a character of several tokens is the last
        one's.
        """
        texts = [self._amid_others(token) for token in ids]
        if "".join(texts) == self._detokenizer.text(prompt, ids):
            return texts
        texts, start = [], 0
        for end in range(1, len(ids) + 1):
            text = self._detokenizer.text(ids[:start] if start else prompt, ids[start:end])
            begun = text.endswith(_PART_OF_A_CHARACTER) and end - start < _BYTES_OF_A_CHARACTER
            if begun and end < len(ids):
                texts.append("")
            else:
                texts.append(text)
                start = end
        return texts

    def _amid_others(self, token: int) -> str:
        if token not in self._known:
            self._known[token] = self._detokenizer.token(token)
        return self._known[token]


def _stops(trace: Trace, text: str) -> list[int] | None:
    """Return where in the text each step stops; None where one is not there.

    Steps and hidden thoughts are looked for in order, piece by piece: where channels part them,
    pieces that are joined in a step are apart in the text.
    """
    text, place = _blank(text), 0
    for piece in _pieces(trace.thinking, trace.delimiter):
        place = text.find(piece, place) + len(piece)
        if place < len(piece):
            return None
    stops = []
    for step in trace.steps:
        for piece in _pieces(step, trace.delimiter):
            place = text.find(piece, place) + len(piece)
            if place < len(piece):
                return None
        stops.append(place)
    return stops


def _pieces(text: str, delimiter: str) -> list[str]:
    return [piece for piece in _blank(text).split(delimiter) if piece.strip()]


def _blank(text: str) -> str:
    """Return the text with blanks in place of markup, which no step is to be found in."""
    return _MARKUP.sub(lambda found: " " * len(found[0]), text)
