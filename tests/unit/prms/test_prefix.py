"""Scoring on kept keys and values, against encoding everything anew."""

import random

import pytest
from transformers import Qwen2Config

from rewardscope.models.prefix import PrefixCache
from rewardscope.prms.prefix import PrefixScorer
from rewardscope.prms.scorer import HfScorer
from rewardscope.records import Encoded
from tests.unit.prms.tiny_prm import make_prm

WORDS = [
    "Now",
    "Tom",
    "has",
    "12",
    "+",
    "30",
    "=",
    "42",
    ".",
    "Adding",
    "gives",
    "5",
    "*",
    "3",
    "\\boxed{7}",
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> HfScorer:
    return HfScorer(str(make_prm(tmp_path_factory.mktemp("prefix"))), device="cpu")


def _step(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 20)))


def _worst(one: list[tuple[float, ...]], other: list[tuple[float, ...]]) -> float:
    assert [len(row) for row in one] == [len(row) for row in other]
    return max(
        abs(a - b)
        for row, own in zip(one, other, strict=True)
        for a, b in zip(row, own, strict=True)
    )


def _grow(
    rng: random.Random, solutions: list[tuple[str, list[str]]], width: int
) -> list[tuple[str, list[str]]]:
    """Continue each solution `width` times by one or two steps; some continuations come twice."""
    grown = [
        (question, [*steps, *(_step(rng) for _ in range(rng.randint(1, 2)))])
        for question, steps in solutions
        for _ in range(width)
    ]
    return grown + rng.sample(grown, len(grown) // 4)


@pytest.mark.parametrize("seed", range(8))
def test_scores_of_growing_trees_are_those_of_whole_solutions(plain: HfScorer, seed: int) -> None:
    rng = random.Random(seed)
    scorer = PrefixScorer(plain, max_bytes=1 << 28)
    solutions = [(_step(rng), []) for _ in range(rng.randint(1, 4))]
    distinct: set[tuple[int, ...]] = set()
    for _ in range(4):
        grown = _grow(rng, solutions, rng.randint(1, 4))
        rng.shuffle(grown)
        batch = [plain.encode(question, steps) for question, steps in grown]
        assert _worst(scorer.score(batch), plain.score(batch)) < 1e-4
        distinct |= {e.input_ids[:at] for e in batch for at in range(1, e.step_ends[-1] + 2)}
        solutions = rng.sample(grown, min(len(grown), 4))
    # short shared beginnings are not worth a pass of their own
    assert scorer.tokens_encoded <= 1.6 * len(distinct)


def test_each_step_is_encoded_once_where_siblings_differ_from_their_first_token(
    plain: HfScorer,
) -> None:
    scorer = PrefixScorer(plain, max_bytes=1 << 28)
    question = (
        "How many coins does Max have now, and how many more does he need to have as many as Lena"
        " and Tom together?"
    )
    steps = [str(digit) * 5 for digit in range(10)]
    scorer.score([plain.encode(question, [step]) for step in steps])
    deeper = [plain.encode(question, [step, other]) for step in steps[:3] for other in steps]
    before = scorer.tokens_encoded
    scorer.score(deeper)
    own = [len(e.input_ids[e.step_ends[0] + 1 : e.step_ends[1] + 1]) for e in deeper]
    assert scorer.tokens_encoded - before == sum(own)
    scorer.score(deeper)
    assert scorer.tokens_encoded - before == sum(own)


def test_step_ends_that_were_no_step_ends_before_are_scored_too(plain: HfScorer) -> None:
    scorer = PrefixScorer(plain, max_bytes=1 << 28)
    whole = plain.encode("How many?", ["one 1", "two 2", "three 3"])
    last_only = Encoded(input_ids=whole.input_ids, step_ends=whole.step_ends[-1:])
    assert _worst(scorer.score([last_only]), [plain.score([whole])[0][-1:]]) < 1e-5
    assert _worst(scorer.score([whole]), plain.score([whole])) < 1e-5


def test_too_little_memory_falls_back_to_whole_inputs_and_says_so_once(
    plain: HfScorer, capsys: pytest.CaptureFixture[str]
) -> None:
    scorer = PrefixScorer(plain, max_bytes=1 << 16)
    batch = [plain.encode("How many?", ["one " * 60, "two " * 60])]
    for _ in range(2):
        assert _worst(scorer.score(batch), plain.score(batch)) < 1e-5
    assert (
        capsys.readouterr().err.count(
            "encoded anew in each round of the search: the memory for it is too small"
        )
        == 1
    )
    assert not scorer.reuses


def test_what_a_call_does_not_use_makes_room_for_the_next(plain: HfScorer) -> None:
    # bytes of a token, at least: keys and values in float32 and two key heads
    slot = 2 * plain.n_layers * 2 * plain.width
    scorer = PrefixScorer(plain, max_bytes=400 * 4 * slot)
    for number in range(12):
        batch = [plain.encode(f"Question {number}?", [f"one {number} " * 20])]
        assert _worst(scorer.score(batch), plain.score(batch)) < 1e-5
    assert scorer.reuses


def test_layers_with_a_sliding_window_are_not_kept(plain: HfScorer) -> None:
    assert PrefixCache(plain.model, max_bytes=1).fits_model
    config = plain.model.config
    assert isinstance(config, Qwen2Config)
    kinds, window = config.layer_types, config.sliding_window
    try:
        config.layer_types, config.sliding_window = ["sliding_attention"] * plain.n_layers, 8
        assert not PrefixCache(plain.model, max_bytes=1).fits_model
    finally:
        config.layer_types, config.sliding_window = kinds, window
