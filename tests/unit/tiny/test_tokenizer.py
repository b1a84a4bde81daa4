"""The shipped tokenizer: any text survives, digits stand alone, and AutoTokenizer reads it as it
was written.
"""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from rewardscope.problems.tinymath import make_problems
from rewardscope.tiny.policy import instruct_text, tiny_config
from rewardscope.tiny.tokenizer import STEP_TAG, build_tokenizer

TEXTS = [
    "plain words",
    "tabs\t and  spaces\n\n\n\n end ",
    "Größe ∑ 日本 🙂 \\frac{1}{2}",
    "<think>\nWait… 12 × 3 = 36 ✓\n</think>",
    "\x00\r\n",
]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(n_problems=200)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives_a_round_trip(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_saved_tokenizer_is_read_back_the_same_by_plain_transformers(
    tokenizer, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    tiny_config(tokenizer).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for problem in make_problems(30, split="test", seed=1):
        for text in (problem.question, *TEXTS):
            assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (loaded.eos_token_id, loaded.pad_token_id) == (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )


def test_every_digit_is_a_token_and_words_are_whole(tokenizer) -> None:
    assert tokenizer.tokenize("Now 317 apples") == ["Now", "Ġ", "3", "1", "7", "Ġapples"]


def test_the_step_tag_is_one_special_token(tokenizer) -> None:
    ids = tokenizer(f"a{STEP_TAG}b")["input_ids"]
    assert ids[1] == tokenizer.convert_tokens_to_ids(STEP_TAG)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "ab"


def test_the_vocabulary_is_small_and_without_holes(tokenizer) -> None:
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert len(tokenizer) < 1000


def test_instruct_text_joins_steps_with_blank_lines() -> None:
    import random

    problem = make_problems(1, split="test", seed=0)[0]
    assert (
        instruct_text(problem, random.Random(0)).count("\n\n")
        == len([e for op in problem.operations for e in op.equations]) + 1
    )
