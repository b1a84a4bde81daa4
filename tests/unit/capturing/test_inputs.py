"""Rows, picked positions and token texts, against values worked out by hand."""

import random

import pytest

from rewardscope.capturing.inputs import Pick, act_rows, encode_trace
from rewardscope.capturing.token_text import token_reader
from rewardscope.records import Encoded, Problem, Trace
from rewardscope.tiny.tokenizer import build_tokenizer
from tests.act_files import as_rows
from tests.unit.capturing.capturing import item


def test_each_token_belongs_to_the_step_that_it_leads_up_to() -> None:
    one = item(tuple(range(100, 108)), (3, 4, 6), range(2, 7))
    texts = ["ab", "c", "", "d", "efg", "h", "i", "j"]
    table = act_rows(one, [0.1, 0.2, 0.3], texts, window=5, sequence=3)
    assert table.sequence_N.tolist() == [3] * 5
    rows = as_rows(table)
    assert [row.token for row in rows] == [2, 3, 4, 5, 6]
    assert [row.token_id for row in rows] == [102, 103, 104, 105, 106]
    assert [row.step for row in rows] == [0, 0, 1, 2, 2]
    assert [row.reward for row in rows] == [None, 0.1, 0.2, None, 0.3]
    assert [row.is_step_end for row in rows] == [False, True, True, False, True]
    assert [row.text_start for row in rows] == [3, 3, 4, 7, 8]
    assert [row.in_window for row in rows] == [True, True, True, False, False]
    assert {(row.problem, row.dataset, row.trace, row.correct) for row in rows} == {
        ("p/0", "p", 4, True)
    }


def test_without_scores_no_row_has_a_reward() -> None:
    rows = as_rows(act_rows(item((1, 2), (1,), (1,)), None, ["a", "b"], window=9, sequence=0))
    assert [(row.is_step_end, row.reward) for row in rows] == [(True, None)]


class Bytes:
    """A form in which each byte is a token, a 0 parts question and solution, and a 1 ends each
    step.
    """

    def encode(self, question: str, trace: Trace) -> Encoded:
        ids = [*question.encode(), 0, *b"\1".join(step.encode() for step in trace.steps), 1]
        return Encoded(
            input_ids=tuple(ids),
            step_ends=tuple(position for position, byte in enumerate(ids) if byte == 1),
        )

    def start(self, question: str) -> int:
        return len(question) + 1


def positions(pick: Pick, *, index: int = 0) -> list[int]:
    problem = Problem(id="p/0", dataset="p", question="abc", answer="")
    trace = Trace(
        problem_id="p/0", index=index, steps=("one", "three"), scores=None, finish="eos", n_tokens=1
    )
    return list(encode_trace(problem, trace, encoder=Bytes(), pick=pick, scores=None).positions)


def test_the_picked_positions_are_those_of_the_solution() -> None:
    assert positions(Pick("step-ends", sample=1, seed=0)) == [7, 13]
    assert positions(Pick("last", sample=1, seed=0)) == [13]
    assert positions(Pick("all-tokens", sample=1, seed=0)) == list(range(4, 14))


def test_a_sample_is_a_traces_own_and_never_more_than_there_is() -> None:
    drawn = [positions(Pick("sample", sample=4, seed=0), index=index) for index in range(60)]
    assert all(
        len(set(one)) == 4 and one == sorted(one) and set(one) <= set(range(4, 14)) for one in drawn
    )
    assert (
        drawn[7]
        == positions(Pick("sample", sample=4, seed=0), index=7)
        != positions(Pick("sample", sample=4, seed=1), index=7)
    )
    # 24 expected, a standard deviation of 3.8
    counts = [sum(position in one for one in drawn) for position in range(4, 14)]
    assert min(counts) > 10 and max(counts) < 38
    assert positions(Pick("sample", sample=99, seed=0)) == list(range(4, 14))


def test_the_texts_of_tokens_joined_are_the_text_whatever_characters_it_has() -> None:
    tokenizer, rng = build_tokenizer(n_problems=5), random.Random(0)
    read = token_reader(tokenizer)
    for _ in range(30):
        text = "".join(
            rng.choice(["Tom", " 3", "\n", "  ", "π", "数", "🍎", "<extra_0>", "é", "∑", "zq"])
            for _ in range(20)
        )
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        texts = read(ids)
        assert len(texts) == len(ids) and "".join(texts) == text


def test_a_character_of_several_tokens_is_shown_once_at_its_last_token() -> None:
    tokenizer = build_tokenizer(n_problems=5)
    assert token_reader(tokenizer)(tokenizer("🍎", add_special_tokens=False)["input_ids"]) == [
        "",
        "",
        "",
        "🍎",
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_a_character_that_is_cut_off_still_gives_each_token_a_text(count: int) -> None:
    tokenizer = build_tokenizer(n_problems=5)
    ids = tokenizer("🍎", add_special_tokens=False)["input_ids"][:count]
    assert len(token_reader(tokenizer)(ids)) == count
