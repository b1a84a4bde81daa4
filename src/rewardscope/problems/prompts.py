"""The prompts given to policies. PRM prompts belong to the PRM families in `prms/`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.problems.thinking import chat_template
from rewardscope.storage.jsonl import read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
DEFAULT_PROMPT = f"{{question}}\n\n{INSTRUCTION}"
_NAME = re.compile(r"\{\{(\w+)\}\}|\{([A-Za-z_]\w*)\}")


class Example(msgspec.Struct, frozen=True):
    """A question with its solution, shown to the policy as earlier turns."""

    question: str
    solution: str


class PromptForm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a question becomes the prompt of a policy.

    `prompt` is the user's turn, with the question in the place of `{question}`; `template` is a
    jinja chat template in place of the tokenizer's own, which is used where it is empty.
    """

    system: str = ""
    prompt: str = DEFAULT_PROMPT
    template: str = ""
    examples: tuple[Example, ...] = ()

    def turn(self, question: str) -> str:
        """Return the user's turn. `{{word}}` in the prompt is the text `{word}`."""
        return _NAME.sub(lambda found: f"{{{found[1]}}}" if found[1] else question, self.prompt)

    def messages(self, question: str) -> list[dict[str, str]]:
        """Return the turns that the policy answers."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        earlier = [
            {"role": role, "content": content}
            for example in self.examples
            for role, content in (
                ("user", self.turn(example.question)),
                ("assistant", example.solution),
            )
        ]
        return [*system, *earlier, {"role": "user", "content": self.turn(question)}]


PLAIN = PromptForm()


def check_prompt(flag: str, prompt: str) -> None:
    """Raises: ConfigError where a prompt has no place for the question, or one for another name."""
    names = [name for _, name in _NAME.findall(prompt) if name]
    unknown = [name for name in names if name != "question"]
    if unknown:
        raise ConfigError(
            f"{flag}: unknown placeholder {{{unknown[0]}}}; known: {{question}}. Write"
            f" {{{{{unknown[0]}}}}} for that text itself"
        )
    if not names:
        raise ConfigError(f"{flag}: it has no {{question}}, the place where the question goes")


def read_examples(path: Path) -> tuple[Example, ...]:
    """Read examples, a jsonl file of `question` and `solution`. Raises: MissingInput, BadRecord."""
    if not path.is_file():
        raise MissingInput(f"--few-shot {path}: no such file")
    examples = []
    for number, row in enumerate(read_rows(path), start=1):
        texts = [row.get(name) for name in ("question", "solution")]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise BadRecord(f"{path} line {number}: no question and solution, both texts")
        examples.append(Example(*map(str, texts)))
    if not examples:
        raise MissingInput(f"--few-shot {path}: it has no rows")
    return tuple(examples)


def policy_prompt(
    tokenizer: PreTrainedTokenizerBase, question: str, form: PromptForm = PLAIN
) -> str:
    """Return the text that a policy continues: by a chat template, or in a plain form where there
    is none.

    Raises: ConfigError where the template cannot be rendered, or leaves out a part of the prompt.
    """
    messages = form.messages(question)
    if not has_template(tokenizer, form):
        return "".join(f"{message['content']}\n\n" for message in messages)
    source = "--template" if form.template else f"the chat template of {tokenizer.name_or_path}"
    prompt = _rendered(tokenizer, messages, template=form.template or None, source=source)
    for message in messages:
        # templates drop the thoughts of earlier turns, and strip; one that writes JSON escapes
        content = message["content"].rpartition("</think>")[2].strip()
        if content not in prompt and json.dumps(content, ensure_ascii=False)[1:-1] not in prompt:
            raise ConfigError(
                f"{source} leaves out or changes the {message['role']}'s turn"
                f" {_start(content)!r}; pass --template with one that shows it"
            )
    return prompt


def has_template(tokenizer: PreTrainedTokenizerBase, form: PromptForm = PLAIN) -> bool:
    """Say whether prompts are made by a chat template."""
    return bool(form.template or chat_template(tokenizer))


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: Any, *, template: str | None, source: str
) -> str:
    """Raises: ConfigError for whatever a template does: it is a program of someone else's."""
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        prompt = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, TypeError, ValueError, KeyError, ArithmeticError) as error:
        line = f" line {error.lineno}" if isinstance(error, TemplateSyntaxError) else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{source}{line} cannot be rendered: {reason}") from None
    assert isinstance(prompt, str), type(prompt)
    return prompt


def _start(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, question: str, form: PromptForm = PLAIN
) -> list[int]:
    """Return the token ids of the prompt.

    A chat template writes its own first token, so none is added then. Raises: as `policy_prompt`.
    """
    return tokenizer(
        policy_prompt(tokenizer, question, form),
        add_special_tokens=not has_template(tokenizer, form),
    )["input_ids"]


def read_template(path: Path) -> str:
    """Read a jinja chat template. Raises: MissingInput, BadRecord."""
    if not path.is_file():
        raise MissingInput(f"--template {path}: no such file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadRecord(f"--template {path}: not UTF-8 text") from None
