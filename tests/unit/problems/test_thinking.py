"""Thoughts and solution told apart, in both published forms, and the steps that come of them."""

import random

import pytest

from rewardscope.problems.thinking import Parts, Shown, StepFormat, find_format
from rewardscope.tiny.tokenizer import build_tokenizer

THINK = "<think>\nfirst\n\nsecond\n</think>\n\none\n\ntwo"
HARMONY = (
    "<|channel|>analysis<|message|>first\n\nsecond<|end|>"
    "<|start|>assistant<|channel|>commentary to=f <|constrain|>json<|message|>{}<|call|>"
    "<|start|>assistant<|channel|>final<|message|>one\n\ntwo"
)


def test_without_thoughts_all_is_solution() -> None:
    assert StepFormat().split(THINK, finished=True) == Parts(
        "", ("<think>\nfirst", "second\n</think>", "one", "two"), 0
    )
    for thinking in ("think", "harmony"):
        assert StepFormat(thinking=thinking).split("one\n\ntwo", finished=True) == Parts(
            "", ("one", "two"), 0
        )


@pytest.mark.parametrize(
    "text", [THINK, THINK.removeprefix("<think>\n")], ids=["marked", "opened by the prompt"]
)
def test_thoughts_are_the_first_steps_or_none(text: str) -> None:
    form = StepFormat(thinking="think", opened=not text.startswith("<think>"))
    assert form.split(text, finished=True) == Parts("", ("first", "second", "one", "two"), 2)
    form = StepFormat(thinking="think", shown="solution")
    assert form.split(text, finished=True) == Parts("first\n\nsecond", ("one", "two"), 0)


def test_every_channel_but_the_final_one_is_thought() -> None:
    form = StepFormat(thinking="harmony")
    assert form.split(HARMONY, finished=True) == Parts(
        "", ("first", "second", "{}", "one", "two"), 3
    )
    form = StepFormat(thinking="harmony", shown="solution")
    assert form.split(HARMONY, finished=True) == Parts("first\n\nsecond\n\n{}", ("one", "two"), 0)


@pytest.mark.parametrize("thinking", ["think", "harmony"])
def test_thoughts_that_were_cut_have_no_solution(thinking: str) -> None:
    text = {
        "think": "<think>\nso far\n\nand",
        "harmony": "<|channel|>analysis<|message|>so far\n\nand",
    }[thinking]
    assert StepFormat(thinking=thinking).split(text, finished=True) == Parts(
        "", ("so far", "and"), 2
    )  # type: ignore[arg-type]
    assert StepFormat(thinking=thinking).split(text, finished=False) == Parts("", ("so far",), 1)
    hidden = StepFormat(thinking=thinking, shown="solution")  # type: ignore[arg-type]
    assert hidden.split(text, finished=True) == Parts("so far\n\nand", (), 0)


@pytest.mark.parametrize("shown", ["all", "solution"])
@pytest.mark.parametrize("thinking", ["think", "harmony"])
def test_a_prefix_that_ends_at_a_delimiter_has_a_prefix_of_the_steps(
    thinking: str, shown: Shown
) -> None:
    rng = random.Random(0)
    form = StepFormat(thinking=thinking, shown=shown)  # type: ignore[arg-type]
    open_, close = {
        "think": ("<think>", "</think>"),
        "harmony": (
            "<|channel|>analysis<|message|>",
            "<|end|><|start|>assistant<|channel|>final<|message|>",
        ),
    }[thinking]
    for _ in range(300):
        pieces = [
            [
                rng.choice("ab \n") * rng.randint(1, 3) + rng.choice("xy")
                for _ in range(rng.randint(1, 4))
            ]
            for _ in range(2)
        ]
        text = (
            open_ + "\n" + "\n\n".join(pieces[0]) + "\n" + close + "\n\n" + "\n\n".join(pieces[1])
        )
        whole = form.split(text, finished=True).steps
        assert whole
        for end in [index + 2 for index in range(len(text)) if text[index : index + 2] == "\n\n"]:
            part = form.split(text[:end], finished=False).steps
            assert whole[: len(part)] == part, (text, end)


def test_the_form_is_read_from_the_chat_template_and_the_prompt() -> None:
    tokenizer = build_tokenizer(n_problems=20)
    assert find_format(tokenizer, "Q", thinking="auto").thinking == "none"
    tokenizer.chat_template = "{{ messages[0]['content'] }}<|channel|>"
    assert find_format(tokenizer, "Q", thinking="auto").thinking == "harmony"
    tokenizer.chat_template = "{% if '</think>' in messages[0]['content'] %}{% endif %}<think>\n"
    found = find_format(tokenizer, "Q<think>\n", thinking="auto")
    assert found.thinking == "think" and found.opened
    assert find_format(tokenizer, "Q<think>\n", thinking="none").split(
        "a</think>b", finished=True
    ).steps == ("a</think>b",)
