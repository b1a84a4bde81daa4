"""What every PRM family must keep, run for each adapter of the registry."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rewardscope.errors import BadRecord, TooLong
from rewardscope.prms import adapters, load_scorer
from rewardscope.prms.scorer import HfScorer
from tests.unit.prms.tiny_prm import make_prm, random_solutions

MAKERS: dict[str, Callable[[Path], Path]] = {"qwen": make_prm}  # family -> how to save a small random model
SOLUTIONS = random_solutions(12, seed=3)


@pytest.fixture(scope="module", params=[adapter.family for adapter in adapters()])
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HfScorer:
    loaded = load_scorer(str(MAKERS[request.param](tmp_path_factory.mktemp(request.param))), engine="auto", device="cpu")
    assert isinstance(loaded, HfScorer)
    return loaded


def test_each_step_has_one_score_between_0_and_1(scorer: HfScorer) -> None:
    scores = scorer.score([scorer.encode(question, steps) for question, steps in SOLUTIONS])
    assert [len(row) for row in scores] == [len(steps) for _, steps in SOLUTIONS]
    assert all(0.0 <= score <= 1.0 for row in scores for score in row)


def test_scores_are_the_same_in_any_batch_and_order(scorer: HfScorer) -> None:
    batch = [scorer.encode(question, steps) for question, steps in SOLUTIONS]
    together, backwards = scorer.score(batch), scorer.score(batch[::-1])[::-1]
    for encoded, row, other in zip(batch, together, backwards, strict=True):
        assert row == pytest.approx(other, abs=1e-5)
        assert row == pytest.approx(scorer.score([encoded])[0], abs=1e-5)


def test_later_steps_change_no_earlier_score(scorer: HfScorer) -> None:
    for question, steps in SOLUTIONS:
        prefixes = scorer.score([scorer.encode(question, steps[:count]) for count in range(1, len(steps) + 1)])
        for prefix in prefixes:
            assert prefix == pytest.approx(prefixes[-1][: len(prefix)], abs=1e-5)


def test_a_later_step_changes_no_earlier_token(scorer: HfScorer) -> None:
    for question, steps in SOLUTIONS:
        whole = scorer.encode(question, steps)
        for count in range(1, len(steps)):
            prefix = scorer.encode(question, steps[:count])
            assert prefix.step_ends == whole.step_ends[:count]
            shared = prefix.step_ends[-1] + 1
            assert prefix.input_ids[:shared] == whole.input_ids[:shared]


def test_the_read_out_of_the_last_layer_is_the_score(scorer: HfScorer) -> None:
    batch = [scorer.encode(question, steps) for question, steps in SOLUTIONS]
    last = scorer.n_layers - 1
    for encoded, expected, captured in zip(batch, scorer.score(batch), scorer.capture(batch, [last]), strict=True):
        ends = list(encoded.step_ends)
        with torch.no_grad():
            read = scorer.adapter.read_out(scorer.model, captured.states[last][ends])
        assert read.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("steps", [[], [""], ["a", "  \n"]])
def test_no_step_and_a_blank_step_are_errors(scorer: HfScorer, steps: list[str]) -> None:
    with pytest.raises(BadRecord):
        scorer.encode("a", steps)


def test_a_step_that_does_not_fit_the_positions_is_an_error(scorer: HfScorer) -> None:
    with pytest.raises(TooLong):
        scorer.encode("a", ["3 " * scorer.max_positions])


def test_a_linear_head_has_a_direction_of_the_models_width(scorer: HfScorer) -> None:
    direction = scorer.adapter.direction(scorer.model)
    assert direction is None or direction.shape == (scorer.width,)
