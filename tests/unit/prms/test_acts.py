"""Rows, token texts and batches of save-acts, against values worked out by hand."""

import random

import pytest
import torch

from rewardscope.prms.acts import Item, act_rows, capture_items, solution_start, token_reader
from rewardscope.prms.scorer import Captured
from rewardscope.records import Encoded, Trace
from rewardscope.tiny.tokenizer import build_tokenizer

WIDTH = 2


def item(n_tokens: int, ends: tuple[int, ...], positions: range | tuple[int, ...]) -> Item:
    trace = Trace(problem_id="p/0", index=4, steps=("s",) * len(ends), scores=None, finish="eos", n_tokens=1, correct=True)
    return Item("p/0", trace, Encoded(input_ids=tuple(range(100, 100 + n_tokens)), step_ends=ends), positions)


def test_each_token_belongs_to_the_step_that_it_leads_up_to() -> None:
    rows = list(act_rows(item(8, (3, 4, 6), range(2, 7)), [0.1, 0.2, 0.3]))
    assert [row.token for row in rows] == [2, 3, 4, 5, 6]
    assert [row.token_id for row in rows] == [102, 103, 104, 105, 106]
    assert [row.step for row in rows] == [0, 0, 1, 2, 2]
    assert [row.reward for row in rows] == [None, 0.1, 0.2, None, 0.3]
    assert [row.is_step_end for row in rows] == [False, True, True, False, True]
    assert {(row.problem, row.trace, row.correct) for row in rows} == {("p/0", 4, True)}


def test_the_texts_of_tokens_joined_are_the_text_whatever_characters_it_has() -> None:
    tokenizer, rng = build_tokenizer(n_problems=5), random.Random(0)
    read = token_reader(tokenizer)
    for _ in range(30):
        text = "".join(rng.choice(["Tom", " 3", "\n", "  ", "π", "数", "🍎", "<extra_0>", "é", "∑", "zq"]) for _ in range(20))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        texts = read(ids)
        assert len(texts) == len(ids) and "".join(texts) == text


def test_a_character_of_several_tokens_is_shown_once_at_its_last_token() -> None:
    tokenizer = build_tokenizer(n_problems=5)
    assert token_reader(tokenizer)(tokenizer("🍎", add_special_tokens=False)["input_ids"]) == ["", "", "", "🍎"]


def test_the_solution_starts_where_two_solutions_part() -> None:
    def encode(question: str, steps: list[str]) -> Encoded:
        ids = [*question.encode(), 0, *b"".join(step.encode() for step in steps), 1]
        return Encoded(input_ids=tuple(ids), step_ends=(len(ids) - 1,))

    assert solution_start("abc", encode) == 4


class CountingScorer:
    """A stand-in whose state at position t of layer l is [1000 l + id of the token, batch size] and whose score is the length."""

    width = WIDTH

    def __init__(self) -> None:
        self.padded: list[int] = []

    def capture(self, batch: list[Encoded], layers: list[int]) -> list[Captured]:
        self.padded.append(len(batch) * max(len(encoded.input_ids) for encoded in batch))
        ids = [torch.tensor(encoded.input_ids, dtype=torch.float32) for encoded in batch]
        return [
            Captured(
                (float(len(one)),), {layer: torch.stack([1000 * layer + one, torch.full_like(one, len(batch))], dim=1) for layer in layers}
            )
            for one in ids
        ]


@pytest.mark.parametrize(("batch_tokens", "passes"), [(1, 5), (12, 3), (1000, 1)])
def test_states_come_back_in_the_order_of_the_traces_whatever_the_batches(batch_tokens: int, passes: int) -> None:
    items = [item(n, (n - 1,), (0, n - 1)) for n in (6, 2, 9, 3, 4)]
    scorer = CountingScorer()
    acts, scores = capture_items(scorer, items, [0, 3], dtype=torch.float32, batch_tokens=batch_tokens)  # type: ignore[arg-type]
    assert len(scorer.padded) == passes
    assert all(padded <= max(batch_tokens, 9) for padded in scorer.padded)
    assert scores == [(6.0,), (2.0,), (9.0,), (3.0,), (4.0,)]
    assert acts[3][:, 0].tolist() == [3100, 3105, 3100, 3101, 3100, 3108, 3100, 3102, 3100, 3103]
    assert acts[0].shape == (10, WIDTH)
