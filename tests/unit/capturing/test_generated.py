"""Steps found among the tokens that a policy generated."""

import pytest
from transformers import PreTrainedTokenizerBase

from rewardscope.capturing.generated import StepFinder
from rewardscope.capturing.policy import PolicyEncoder
from rewardscope.problems.thinking import StepFormat
from rewardscope.records import Trace
from rewardscope.tiny.tokenizer import build_tokenizer

PROMPT = (1, 2)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(n_problems=20)


def pieces(tokenizer: PreTrainedTokenizerBase, *texts: str) -> tuple[int, ...]:
    """Return the ids of texts that are tokenised apart."""
    return tuple(
        token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"]
    )


def trace(steps: tuple[str, ...], ids: tuple[int, ...] | None, **more: object) -> Trace:
    n_tokens = None if ids is None else len(ids)
    return Trace(
        problem_id="p/0",
        index=0,
        steps=steps,
        scores=None,
        finish="eos",
        n_tokens=n_tokens,
        token_ids=ids,
        **more,
    )


@pytest.mark.parametrize("delimiter", ["\n\n", "\n", ";"])
def test_a_step_ends_at_the_last_token_that_holds_a_part_of_it(
    tokenizer: PreTrainedTokenizerBase, delimiter: str
) -> None:
    written = ("Tom has 3 apples.", delimiter, "a π, a 数 and an 🍎", delimiter, "7")
    ids = pieces(tokenizer, *written)
    found = StepFinder(tokenizer).ends(trace(written[::2], ids, delimiter=delimiter), PROMPT)
    assert found is not None
    # each text was tokenised alone, so its last token is where its ids end
    lengths = [len(pieces(tokenizer, text)) for text in written]
    assert found == [sum(lengths[:1]) - 1, sum(lengths[:3]) - 1, sum(lengths) - 1]


@pytest.mark.parametrize("shown", ["all", "solution"])
def test_thoughts_and_their_marks_are_passed_over(
    tokenizer: PreTrainedTokenizerBase, shown: str
) -> None:
    written = ("<think>\n", "A think.", "\n\n", "B.", "\n</think>\n\n", "A think.", "\n\n", "t")
    ids = pieces(tokenizer, *written)
    form = StepFormat(thinking="think", shown="all" if shown == "all" else "solution")
    thinking, steps, n_thinking = form.split("".join(written), finished=True)
    one = trace(steps, ids, thinking=thinking, n_thinking=n_thinking)
    found = StepFinder(tokenizer).ends(one, PROMPT)
    lengths = [len(pieces(tokenizer, text)) for text in written]
    ends = [sum(lengths[: index + 1]) - 1 for index in (1, 3, 5, 7)]
    assert found == (ends if shown == "all" else ends[2:])


def test_the_ids_of_another_tokenizer_are_not_taken(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = PolicyEncoder(tokenizer, max_positions=1000)
    steps = ("Tom has 3 apples.", "So 3.")
    own = encoder.encode("Q?", trace(steps, pieces(tokenizer, "\n\n".join(steps))))
    assert encoder.tokenised == 0
    for ids in ((5, 6, 7), (10**6,)):
        assert encoder.encode("Q?", trace(steps, ids)) == own
    assert encoder.encode("Q?", trace(steps, None)) == own and encoder.tokenised == 3
