"""Batching, limits and capture of the scorer that runs in this process."""

import pytest
import torch

from rewardscope.errors import TooLong, UnknownName
from rewardscope.prms import scorer as scorer_module
from rewardscope.prms.scorer import HfScorer
from rewardscope.records import Encoded
from tests.unit.prms.tiny_prm import make_prm, random_solutions


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> HfScorer:
    return HfScorer(str(make_prm(tmp_path_factory.mktemp("prm"))), device="cpu")


@pytest.fixture(scope="module")
def batch(scorer: HfScorer) -> list[Encoded]:
    return [scorer.encode(question, steps) for question, steps in random_solutions(30, seed=1)]


@pytest.mark.parametrize("budget", [1, 300, 1000, 100_000])
def test_the_token_budget_changes_no_score(
    scorer: HfScorer, batch: list[Encoded], monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    alone = [scorer.score([encoded])[0] for encoded in batch]
    monkeypatch.setitem(scorer_module.TOKEN_BUDGET, "cpu", budget)
    for scores, expected in zip(scorer.score(batch), alone, strict=True):
        assert scores == pytest.approx(expected, abs=1e-5)


def test_no_batch_is_larger_than_the_budget(
    scorer: HfScorer, batch: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    handle = scorer.model.model.register_forward_pre_hook(
        lambda _module, _inputs, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    monkeypatch.setitem(scorer_module.TOKEN_BUDGET, "cpu", 600)
    scorer.score(batch)
    handle.remove()
    assert len(sizes) > 3 and max(sizes) <= 600


def test_tokens_are_counted_without_padding(scorer: HfScorer, batch: list[Encoded]) -> None:
    before = scorer.tokens_encoded
    scorer.score(batch)
    assert scorer.tokens_encoded - before == sum(len(encoded.input_ids) for encoded in batch)


def test_nothing_to_score_gives_nothing(scorer: HfScorer) -> None:
    assert scorer.score([]) == []


def test_an_input_of_exactly_all_positions_is_scored_and_one_more_is_too_long(
    scorer: HfScorer,
) -> None:
    overhead = len(scorer.encode("a", ["3"]).input_ids) - 1
    assert scorer.max_positions == 512
    full = scorer.encode("a", ["3" * (512 - overhead)])
    assert len(full.input_ids) == 512 and len(scorer.score([full])[0]) == 1
    with pytest.raises(TooLong, match="513 tokens in the PRM's prompt, the PRM has 512 positions"):
        scorer.encode("a", ["3" * (513 - overhead)])


def test_capture_gives_scores_and_states_in_order(
    scorer: HfScorer, batch: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scorer_module.TOKEN_BUDGET, "cpu", 600)
    expected = scorer.score(batch)
    for encoded, scores, (captured_scores, states) in zip(
        batch, expected, scorer.capture(batch, [0, 2]), strict=True
    ):
        assert captured_scores == pytest.approx(scores, abs=1e-5)
        assert set(states) == {0, 2}
        with torch.no_grad():
            hidden = scorer.model.model(
                torch.tensor([encoded.input_ids]), output_hidden_states=True
            ).hidden_states
        assert states[0].shape == (len(encoded.input_ids), scorer.width)
        assert torch.allclose(states[0], hidden[1][0], atol=1e-5)


def test_a_layer_that_the_prm_lacks_is_an_error(scorer: HfScorer, batch: list[Encoded]) -> None:
    assert scorer.n_layers == 3
    with pytest.raises(UnknownName, match="unknown layer '3'"):
        next(scorer.capture(batch, [3]))
