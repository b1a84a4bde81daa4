"""What every PRM family must keep, run for each adapter of the registry."""

import json
from pathlib import Path

import pytest
import torch

from rewardscope.errors import BadRecord, TooLong
from rewardscope.prms import adapters, load_scorer
from rewardscope.prms.scorer import HfScorer
from rewardscope.records import Encoded
from tests.contract.tiny_prms import make_prm, random_solutions

SOLUTIONS = random_solutions(12, seed=3)
FAMILIES = [adapter.family for adapter in adapters()]
MARKERS = {
    "qwen": "<extra_0>",
    "reasonflux": "<extra_0>",
    "math-shepherd": "ки",
    "rlhflow": "<|start_header_id|>",
    "skywork-o1": "<|endoftext|>",
    "trl": "<|im_end|>",
    "h4": "<|im_end|>",
    "pure": "<|im_end|>",
    "outcome": "<|eot_id|>",
}
# tokens after the last step end; none in the other families
CLOSING = {"qwen": 2, "reasonflux": 2, "rlhflow": 2}


@pytest.fixture(scope="module", params=FAMILIES)
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HfScorer:
    folder = make_prm(request.param, tmp_path_factory.mktemp("prms"))
    loaded = load_scorer(str(folder), engine="auto", device="cpu")
    assert isinstance(loaded, HfScorer) and loaded.adapter.family == request.param
    return loaded


def encode_all(scorer: HfScorer) -> list[Encoded]:
    return [scorer.encode(question, steps) for question, steps in SOLUTIONS]


def test_each_step_has_one_score_in_the_familys_range(scorer: HfScorer) -> None:
    scores, (low, high) = scorer.score(encode_all(scorer)), scorer.adapter.score_range
    assert [len(row) for row in scores] == [len(steps) for _, steps in SOLUTIONS]
    assert all(low <= score <= high for row in scores for score in row)


def test_scores_are_the_same_in_any_batch_and_order(scorer: HfScorer) -> None:
    batch = encode_all(scorer)
    together, backwards = scorer.score(batch), scorer.score(batch[::-1])[::-1]
    for encoded, row, other in zip(batch, together, backwards, strict=True):
        assert row == pytest.approx(other, abs=1e-5)
        assert row == pytest.approx(scorer.score([encoded])[0], abs=1e-5)


def test_later_steps_change_no_earlier_score_of_an_incremental_family(scorer: HfScorer) -> None:
    for question, steps in SOLUTIONS if scorer.adapter.incremental else []:
        prefixes = scorer.score(
            [scorer.encode(question, steps[:count]) for count in range(1, len(steps) + 1)]
        )
        for prefix in prefixes:
            assert prefix == pytest.approx(prefixes[-1][: len(prefix)], abs=1e-5)


def test_a_family_is_incremental_where_a_later_step_changes_no_earlier_token(
    scorer: HfScorer,
) -> None:
    kept = []
    for question, steps in SOLUTIONS:
        whole = scorer.encode(question, steps)
        for count in range(1, len(steps)):
            prefix = scorer.encode(question, steps[:count])
            shared = prefix.step_ends[-1] + 1
            kept.append(
                prefix.step_ends == whole.step_ends[:count]
                and prefix.input_ids[:shared] == whole.input_ids[:shared]
            )
    assert len(kept) > 10
    assert all(kept) is scorer.adapter.incremental


def test_as_many_tokens_follow_the_last_step_end_of_every_solution(scorer: HfScorer) -> None:
    after = {len(encoded.input_ids) - 1 - encoded.step_ends[-1] for encoded in encode_all(scorer)}
    assert after == {CLOSING.get(scorer.adapter.family, 0)}


def test_the_read_out_of_the_last_layer_is_the_score(scorer: HfScorer) -> None:
    batch, last = encode_all(scorer), scorer.n_layers - 1
    for encoded, expected, captured in zip(
        batch, scorer.score(batch), scorer.capture(batch, [last]), strict=True
    ):
        with torch.no_grad():
            read = scorer.adapter.read_out(
                scorer.model, captured.states[last][list(encoded.step_ends)]
            )
        assert read.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("steps", [[], [""], ["a", "  \n"]])
def test_no_step_and_a_blank_step_are_errors(scorer: HfScorer, steps: list[str]) -> None:
    with pytest.raises(
        BadRecord,
        match="without steps" if not steps else f"step {len(steps)} of {len(steps)} is blank",
    ):
        scorer.encode("a", steps)


def test_a_blank_question_is_an_error(scorer: HfScorer) -> None:
    with pytest.raises(BadRecord, match="the question is blank"):
        scorer.encode(" \n", ["a"])


def test_a_text_that_holds_a_marker_of_the_prompt_is_an_error(scorer: HfScorer) -> None:
    marker = MARKERS[scorer.adapter.family]
    with pytest.raises(
        BadRecord, match=r"^step 2 of 3 contains '.*', a marker of the PRM's prompt"
    ):
        scorer.encode("a", ["3", f"a {marker} b", "7"])
    with pytest.raises(BadRecord, match=r"^the question contains"):
        scorer.encode(f"a {marker} b", ["3"])


def test_a_step_that_does_not_fit_the_positions_is_an_error(scorer: HfScorer) -> None:
    with pytest.raises(TooLong):
        scorer.encode("a", ["3 " * scorer.max_positions])


@torch.no_grad()
def test_the_direction_of_a_linear_head_gives_the_logit_of_the_score(scorer: HfScorer) -> None:
    direction = scorer.adapter.direction(scorer.model)
    assert (direction is not None) is scorer.adapter.linear_head
    if direction is None:
        assert scorer.adapter.family in ("qwen", "reasonflux")  # the only heads that are not linear
        return
    assert direction.shape == (scorer.width,)
    states_ND = torch.cat(
        [
            torch.zeros(1, scorer.width),
            torch.randn(20, scorer.width, generator=torch.Generator().manual_seed(0)),
        ]
    )
    scores_N = scorer.adapter.read_out(scorer.model, states_ND).double()
    low, high = scorer.adapter.score_range
    logits_N = scores_N if high == float("inf") else torch.logit((scores_N - low) / (high - low))
    rms_N = (states_ND.double().square().mean(dim=1) + scorer.model.config.rms_norm_eps).sqrt()
    assert torch.allclose(
        logits_N - logits_N[0], states_ND.double() @ direction.double() / rms_N, atol=1e-4
    )


def test_half_precision_keeps_a_float32_read_out(scorer: HfScorer) -> None:
    half = scorer.adapter.load(
        scorer.model.name_or_path, device=torch.device("cpu"), dtype=torch.bfloat16
    )
    states_ND = torch.randn(20, scorer.width, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.no_grad():
        scores_N, expected_N = (
            scorer.adapter.read_out(half, states_ND),
            scorer.adapter.read_out(scorer.model, states_ND.float()),
        )
    assert half.dtype == torch.bfloat16 and scores_N.dtype == torch.float32
    assert torch.allclose(scores_N, expected_N, atol=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_code_of_a_model_is_run(family: str, tmp_path: Path) -> None:
    folder, ran = make_prm(family, tmp_path), tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    classes = (
        "AutoConfig",
        "AutoModel",
        "AutoModelForCausalLM",
        "AutoModelForTokenClassification",
        "AutoModelForSequenceClassification",
    )
    config["auto_map"] = dict.fromkeys(classes, "evil.Evil")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom transformers import Qwen2Model as Evil\n"
    )
    loaded = load_scorer(str(folder), engine="hf", device="cpu")
    assert loaded.score([loaded.encode(*SOLUTIONS[0])])
    assert not ran.exists()
