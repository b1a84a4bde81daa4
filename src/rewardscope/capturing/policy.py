"""A policy as a source of states: its own prompt and its own solution, thoughts and all.

It gives no scores.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardscope.capturing.generated import StepFinder
from rewardscope.errors import BadRecord
from rewardscope.models.blocks import shape_of
from rewardscope.models.load import check_vocabulary, load_causal_lm, load_tokenizer
from rewardscope.models.sublayers import prove_decoder
from rewardscope.prms.common import last_token
from rewardscope.prms.scorer import fitting
from rewardscope.problems.prompts import PLAIN, PromptForm, encode_prompt, policy_prompt
from rewardscope.problems.steps import DELIMITER
from rewardscope.records import Encoded, Trace

_OPEN, _CLOSE = "<think>", "</think>"


class PolicyStates:
    """A causal language model; `window` counts the positions that it was trained on.

    Raises: MissingInput; BadRecord where its states cannot be looked at.
    """

    adapter = None

    def __init__(self, name: str, *, device: torch.device, dtype: torch.dtype) -> None:
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(name)
        self.model: PreTrainedModel = load_causal_lm(name, device=device, dtype=dtype)
        check_vocabulary(name, self.tokenizer, self.model)
        prove_decoder(self.model)
        shape = shape_of(self.model.config)
        self.n_layers, self.window = shape.n_layers, shape.window


class PolicyEncoder:
    """The prompt of the policy, and after it the tokens that it generated.

    Without them (a trace from elsewhere, or of a policy with another tokenizer) the text of the
    trace is tokenised, which may give other tokens; `tokenised` counts these traces.
    `max_positions` is the longest input in tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, max_positions: int, form: PromptForm = PLAIN
    ) -> None:
        self._tokenizer, self._max_positions, self._form = tokenizer, max_positions, form
        self._prompt = lru_cache(maxsize=1)(
            lambda question: tuple(encode_prompt(tokenizer, question, form))
        )
        self._steps = StepFinder(tokenizer)
        self.tokenised = 0

    def start(self, question: str) -> int:
        """Return the position of the first token after the prompt."""
        return len(self._prompt(question))

    def encode(self, question: str, trace: Trace) -> Encoded:
        """Encode one solution; a step ends at the last token that holds a part of it.

        Raises: BadRecord; TooLong.
        """
        if not trace.steps:
            raise BadRecord("a solution without steps has no step end")
        prompt = self._prompt(question)
        ids, ends = trace.token_ids, self._steps.ends(trace, prompt)
        if ids is None or ends is None:
            ids, ends = self._tokenise(question, trace)
            self.tokenised += 1
        encoded = Encoded(
            input_ids=(*prompt, *ids), step_ends=tuple(len(prompt) + end for end in ends)
        )
        return fitting(encoded, self._max_positions)

    def _tokenise(self, question: str, trace: Trace) -> tuple[Sequence[int], list[int]]:
        text, stops = trace_text(
            trace,
            opened=policy_prompt(self._tokenizer, question, self._form).rstrip().endswith(_OPEN),
        )
        tokens = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return tokens["input_ids"], [last_token(tokens["offset_mapping"], stop) for stop in stops]


def trace_text(trace: Trace, *, opened: bool) -> tuple[str, list[int]]:
    """Return what the policy wrote and where in it each step stops.

    The marks round thoughts are no part of steps, so they are put back; `opened` says that the
    prompt has the first one.
    """
    thoughts, solution = trace.steps[: trace.n_thinking], trace.steps[trace.n_thinking :]
    text, stops = "", []

    def append(text: str, steps: Sequence[str]) -> str:
        """Return the text with steps after it, and note where each stops."""
        for number, step in enumerate(steps):
            text += (trace.delimiter if number else "") + step
            stops.append(len(text))
        return text

    if trace.thinking or thoughts:
        text = "" if opened else f"{_OPEN}\n"
        text = append(text + trace.thinking, thoughts) + f"\n{_CLOSE}{DELIMITER}"
    return append(text, solution), stops
