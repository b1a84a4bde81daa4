"""Where a thinking model's thoughts end and its solution begins, and what of both the PRM is shown
as steps.

Two published forms: `<think> ... </think>` before the solution (DeepSeek-R1, QwQ, Qwen3), which the
prompt may have opened already, and the channels of gpt-oss ("harmony"), where all but the channel
`final` is thought.
"""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from rewardscope.problems.steps import DELIMITER, delimiter_in, split_steps
from rewardscope.records import Completion, Trace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ThinkingName = Literal["auto", "none", "think", "harmony"]
Shown = Literal["all", "solution"]

_OPEN, _CLOSE = "<think>", "</think>"
_FINAL = "<|channel|>final<|message|>"
_CHANNEL_MARK = "<|channel|>"
MARKS = frozenset(
    {
        _OPEN,
        _CLOSE,
        "<|start|>",
        "<|channel|>",
        "<|constrain|>",
        "<|message|>",
        "<|end|>",
        "<|call|>",
        "<|return|>",
    }
)
"""Tokens that part thoughts from the solution: they stay in a text where they are special tokens.
"""
_CHANNEL = re.compile(
    r"<\|channel\|>(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(.*?)(?=<\|(?:end|start|channel|call|return)\|>|\Z)",
    re.DOTALL,
)


class Parts(NamedTuple):
    """What a text is made of.

    Steps are whole: text after the last delimiter of an unfinished text is in none.
    """

    thinking: str
    """Thoughts that are not shown to the PRM."""
    steps: tuple[str, ...]
    n_thinking: int
    """How many of the first steps are thoughts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFormat:
    """How a policy's text is cut into the steps that the PRM sees.

    `opened` says that the prompt ends within the thoughts. With `shown` = `solution` thoughts are
    no steps. The marks of the form are never part of a step.
    """

    delimiter: str = DELIMITER
    thinking: Literal["none", "think", "harmony"] = "none"
    opened: bool = False
    shown: Shown = "all"

    @property
    def hides_thoughts(self) -> bool:
        """Say whether the steps of a text start only behind its thoughts."""
        return self.thinking != "none" and self.shown == "solution"

    @property
    def end_of_thoughts(self) -> str:
        """The text that ends the thoughts."""
        assert self.thinking != "none"
        return _CLOSE if self.thinking == "think" else _FINAL

    def split(self, text: str, *, finished: bool) -> Parts:
        """Cut a text, or its part so far.

        A prefix that ends at a delimiter, or at the end of the thoughts, has a prefix of the steps.
        """
        thoughts, solution, ended = self._halves(text)
        thought_steps = self._steps(
            thoughts.rstrip() if ended else thoughts, finished=finished or ended
        )
        steps = self._steps(solution, finished=finished)
        if self.shown == "solution":
            return Parts(thoughts.strip(), steps, 0)
        return Parts("", thought_steps + steps, len(thought_steps))

    def trace(self, problem_id: str, index: int, completion: Completion) -> Trace:
        """Return a whole solution that a policy wrote as a trace without scores."""
        assert completion.finish != "stop", completion.finish
        delimiter = delimiter_in(completion.text, self.delimiter)
        form = replace(self, delimiter=delimiter)
        thinking, steps, n_thinking = form.split(completion.text, finished=True)
        return Trace(
            problem_id=problem_id,
            index=index,
            steps=steps,
            scores=None,
            finish=completion.finish,
            n_tokens=completion.n_tokens,
            thinking=thinking,
            n_thinking=n_thinking,
            delimiter=delimiter,
            token_ids=completion.token_ids if completion.ids_are_known else None,
        )

    def _halves(self, text: str) -> tuple[str, str, bool]:
        """Return the thoughts, the solution, and whether the thoughts have ended."""
        if self.thinking == "none":
            return "", text, True
        if self.thinking == "harmony":
            return _channels(text, self.delimiter)
        before, close, after = text.partition(_CLOSE)
        if close or self.opened or text.lstrip().startswith(_OPEN):
            return before.lstrip().removeprefix(_OPEN).lstrip(), after.lstrip(), bool(close)
        return "", text, True

    def _steps(self, text: str, *, finished: bool) -> tuple[str, ...]:
        *_, begun = text.split(self.delimiter)
        return tuple(
            split_steps(text if finished else text[: len(text) - len(begun)], self.delimiter)
        )


def _channels(text: str, delimiter: str) -> tuple[str, str, bool]:
    """Return what a gpt-oss text says outside the channel `final`, what it says there, and whether
    it has come to it.
    """
    messages = _CHANNEL.findall(text)
    if not messages and _CHANNEL_MARK not in text:
        return "", text, True
    thoughts = [content.strip() for channel, content in messages if channel != "final"]
    final = [content for channel, content in messages if channel == "final"]
    if messages and not final:
        # it may still grow, and its last delimiter shows which steps are whole
        thoughts[-1] = messages[-1][1].lstrip()
    return delimiter.join(thoughts), delimiter.join(final).lstrip(), bool(final)


def chat_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return the chat template of a tokenizer, the default one of several; "" where it has none."""
    template = tokenizer.chat_template or ""
    return template.get("default", "") if isinstance(template, dict) else template


def find_format(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: str,
    *,
    thinking: ThinkingName,
    delimiter: str = DELIMITER,
    shown: Shown = "all",
    template: str = "",
) -> StepFormat:
    """Return the format of a policy.

    `auto` reads it from the chat template: `template`, or else the tokenizer's own. `prompt` is any
    prompt of the policy, rendered.
    """
    if thinking == "auto":
        template = template or chat_template(tokenizer)
        thinking = (
            "harmony" if _CHANNEL_MARK in template else "think" if _CLOSE in template else "none"
        )
    return StepFormat(
        delimiter=delimiter, thinking=thinking, opened=prompt.rstrip().endswith(_OPEN), shown=shown
    )
