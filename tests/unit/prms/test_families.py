"""What is peculiar to one family's prompt form, against texts and positions written out by hand."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rewardscope.errors import BadRecord
from rewardscope.prms import PrmAdapter
from rewardscope.prms.math_shepherd import MathShepherdAdapter
from rewardscope.prms.outcome import OutcomeAdapter
from rewardscope.prms.pure import PureAdapter
from rewardscope.prms.rlhflow import RlhflowAdapter
from rewardscope.prms.skywork import SkyworkAdapter
from rewardscope.prms.token_classification import H4Adapter, TrlAdapter
from tests.contract.tiny_prms import llama_3_tokenizer, mistral_tokenizer, qwen_tokenizer


def read_up_to(
    adapter: PrmAdapter, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
) -> list[str]:
    """Return for each step the text of the input up to and including the token that is read."""
    encoded = adapter.encode(tokenizer, question, steps)
    texts = [tokenizer.decode(encoded.input_ids[: end + 1]) for end in encoded.step_ends]
    assert all(isinstance(text, str) for text in texts)
    return texts  # type: ignore[return-value]


def test_math_shepherd_labels_each_step_that_has_no_label() -> None:
    steps = ["a", "Step 2: so 7", "Stephen has 3", "\n\nstep by step"]
    text = "<s> Q Step 1: a ки\nStep 2: so 7 ки\nStep 3: Stephen has 3 ки\nStep 4: step by step ки"
    stops = [text.index(" ки", text.index(f"Step {number}:")) + 3 for number in (1, 2, 3, 4)]
    assert read_up_to(MathShepherdAdapter(), mistral_tokenizer(), "Q", steps) == [
        text[:stop] for stop in stops
    ]


def test_math_shepherd_takes_a_word_with_its_tags_letters_but_not_the_tag_token() -> None:
    tokenizer = mistral_tokenizer()
    assert (
        len(MathShepherdAdapter().encode(tokenizer, "Сколько яблоки?", ["яблоки", "3"]).step_ends)
        == 2
    )
    assert tokenizer.tokenize("кирпич")[0] == "▁ки"  # in this vocabulary
    with pytest.raises(BadRecord, match="step 1 of 2 contains 'ки'"):
        MathShepherdAdapter().encode(tokenizer, "Q", ["кирпич", "3"])


def test_rlhflow_is_read_before_each_answer_and_shows_no_date_of_today() -> None:
    first, second = read_up_to(
        RlhflowAdapter(), llama_3_tokenizer(), "How many?", [" a + 3\n", "left + -"]
    )
    system = (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul"
        " 2024\n<|eot_id|>"
    )
    user, assistant = (
        f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant")
    )
    assert first == f"{system}{user}How many? a + 3<|eot_id|>{assistant}"
    assert second == f"{first}+<|eot_id|>{user}left + -<|eot_id|>{assistant}"


def test_rlhflow_refuses_a_tokenizer_without_a_chat_form() -> None:
    tokenizer = llama_3_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(BadRecord, match="has no chat template"):
        RlhflowAdapter().encode(tokenizer, "Q", ["a"])


def test_skywork_reads_the_newline_after_a_step_and_not_those_within() -> None:
    tokenizer = qwen_tokenizer(bos_token="<|endoftext|>")
    assert read_up_to(SkyworkAdapter(), tokenizer, "Q", ["a\nb", "c."]) == [
        "<|endoftext|>Q\na\nb\n",
        "<|endoftext|>Q\na\nb\nc.\n",
    ]


def test_skywork_refuses_a_tokenizer_without_a_beginning_of_text() -> None:
    with pytest.raises(BadRecord, match="no beginning-of-text token"):
        SkyworkAdapter().encode(qwen_tokenizer(), "Q", ["a"])


def test_h4_reads_the_token_that_ends_the_empty_line_even_within_a_steps_full_stop() -> None:
    tokenizer, adapter = qwen_tokenizer(), H4Adapter()
    assert read_up_to(adapter, tokenizer, "Q", ["so 7.", "\n\nπ \n"]) == [
        "Q\n\nso 7.\n\n",
        "Q\n\nso 7.\n\nπ\n\n",
    ]
    encoded = adapter.encode(tokenizer, "Q", ["so 7.", "a"])
    assert tokenizer.decode([encoded.input_ids[encoded.step_ends[0]]]) == ".\n\n"


def test_trl_begins_with_the_tokenizers_first_token_where_there_is_one() -> None:
    assert read_up_to(TrlAdapter(), llama_3_tokenizer(), "Q", ["a", "b"]) == [
        "<|begin_of_text|>Q\na\n",
        "<|begin_of_text|>Q\na\nb\n",
    ]


def test_a_models_tokenizer_may_name_another_separator(tmp_path: Path) -> None:
    qwen_tokenizer().save_pretrained(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "step_separator": "\n\n"}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert read_up_to(TrlAdapter(), tokenizer, "Q", ["a", "b"])[-1] == "Q\n\na\n\nb\n\n"
    assert read_up_to(PureAdapter(), tokenizer, "Q", ["a", "b"])[-1] == "Qa\n\nb\n\n"


def test_pure_puts_no_separator_after_the_question() -> None:
    assert read_up_to(PureAdapter(), qwen_tokenizer(), "Q?", ["a.", " b\n"]) == [
        "Q?a.\n",
        "Q?a.\nb\n",
    ]


def test_an_outcome_model_is_read_at_each_steps_last_token_and_at_the_turns_end() -> None:
    texts = read_up_to(OutcomeAdapter(), qwen_tokenizer(), "Q", ["a π", "\n\nso 7", "b"])
    start = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    whole = f"{start}a π\n\n\n\nso 7\n\nb<|im_end|>\n"
    assert texts == [f"{start}a π", f"{start}a π\n\n\n\nso 7", whole]


def test_an_outcome_model_is_read_before_padding_as_in_transformers_own_class(
    tmp_path: Path,
) -> None:
    tokenizer = llama_3_tokenizer()
    tokenizer.pad_token = "<|eot_id|>"
    tokenizer.save_pretrained(tmp_path)
    text = read_up_to(OutcomeAdapter(), AutoTokenizer.from_pretrained(tmp_path), "Q", ["a", "b"])[
        -1
    ]
    assert text.endswith("assistant<|end_header_id|>\n\na\n\nb")


def test_an_outcome_model_whose_chat_form_changes_the_solution_is_an_error() -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    )
    with pytest.raises(BadRecord, match="leaves out or changes the assistant's text"):
        OutcomeAdapter().encode(tokenizer, "Q", ["a"])
