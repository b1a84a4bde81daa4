"""What a policy is asked: the parts of a prompt, and what cannot be one."""

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.problems.prompts import (
    Example,
    PromptForm,
    check_prompt,
    encode_prompt,
    policy_prompt,
    read_examples,
)
from rewardscope.problems.thinking import find_format
from rewardscope.tiny.tokenizer import build_tokenizer

CHATML = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(n_problems=20)


def test_the_turns_are_system_examples_and_question_in_that_order(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    form = PromptForm(
        system="Be brief.",
        prompt="Q: {question}",
        template=CHATML,
        examples=(Example("1 + 1?", "2"), Example("2 + 2?", "4")),
    )
    assert policy_prompt(tokenizer, "3 + 3?", form) == (
        "<system>Be brief.</system><user>Q: 1 + 1?</user><assistant>2</assistant>"
        "<user>Q: 2 + 2?</user><assistant>4</assistant><user>Q: 3 + 3?</user><assistant>"
    )


def test_without_a_chat_template_turns_are_paragraphs(tokenizer: PreTrainedTokenizerBase) -> None:
    plain = build_tokenizer(n_problems=20)
    plain.chat_template = None
    form = PromptForm(system="S", prompt="{question}", examples=(Example("a", "b"),))
    assert policy_prompt(plain, "c", form) == "S\n\na\n\nb\n\nc\n\n"


def test_the_usual_prompt_is_the_question_and_the_instruction() -> None:
    assert PromptForm().turn("1 + 1?") == (
        "1 + 1?\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    )


def test_braces_are_text_but_for_the_question_and_doubled_ones_are_single() -> None:
    form = PromptForm(prompt="{question} \\boxed{} {{question}} {1} \\frac{{a}}{2}")
    check_prompt("--prompt", form.prompt)
    assert form.turn("{x} \\1") == "{x} \\1 \\boxed{} {question} {1} \\frac{a}{2}"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("Solve this.", r"--prompt: it has no \{question\}"),
        ("{{question}}", r"--prompt: it has no \{question\}"),
        ("{question} {answer}", r"unknown placeholder \{answer\}; known: \{question\}"),
        ("{problem}", r"unknown placeholder \{problem\}"),
    ],
)
def test_a_prompt_without_a_question_or_with_another_name_is_one_line(
    prompt: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        check_prompt("--prompt", prompt)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}", "--template line 1 cannot be rendered"),
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[0].content.__class__.__mro__ }}", "unsafe"),
        ("{{ messages[0].content / 2 }}", "cannot be rendered"),
        ("{{ messages[0].content }}", "leaves out or changes the user's turn '3 [+] 3"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_line(
    tokenizer: PreTrainedTokenizerBase, template: str, message: str
) -> None:
    form = PromptForm(system="S", template=template)
    with pytest.raises(ConfigError, match=message) as error:
        policy_prompt(tokenizer, "3 + 3?", form)
    assert "\n" not in str(error.value)


def test_a_template_may_drop_the_thoughts_of_earlier_turns(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    template = CHATML.replace("m.content |", "m.content.split('</think>')[-1] |")
    form = PromptForm(template=template, examples=(Example("q", "<think>hm</think>\n\n7"),))
    assert "<assistant>7</assistant>" in policy_prompt(tokenizer, "r", form)


def test_the_form_of_thoughts_is_that_of_the_template_in_use(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    assert find_format(tokenizer, "", thinking="auto").thinking == "none"
    thinks = find_format(tokenizer, "", thinking="auto", template=CHATML + "{# </think> #}")
    assert thinks.thinking == "think"


def test_a_template_writes_its_own_first_token(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = encode_prompt(tokenizer, "3 + 3?", PromptForm(template=CHATML))
    assert tokenizer.decode(ids).startswith("<user>3 + 3?")


def test_examples_are_read_and_a_row_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shots.jsonl"
    rows = [{"question": "a", "solution": "b"}, {"question": "c"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadRecord, match=r"shots.jsonl line 2: no question and solution"):
        read_examples(path)
    path.write_text(json.dumps(rows[0]))
    assert read_examples(path) == (Example("a", "b"),)
    path.write_text("")
    with pytest.raises(MissingInput, match="it has no rows"):
        read_examples(path)
