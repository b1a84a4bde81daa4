"""The Qwen2.5-Math-PRM family: layout, prompt, errors, and a computation of its scores that shares
nothing with ours.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import linear
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.paths import TINY
from rewardscope.prms import load_scorer
from rewardscope.prms.common import check_rotary, check_scores_differ
from rewardscope.prms.qwen import QwenAdapter, QwenPrm, step_tag_id
from tests.unit.prms.tiny_prm import make_prm, random_solutions

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prm(tmp_path_factory.mktemp("prm"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def _load(folder: Path) -> QwenPrm:
    model = QwenAdapter().load(str(folder), device=CPU, dtype=torch.float32)
    assert isinstance(model, QwenPrm)
    return model


def _plain_scores(folder: Path, question: str, steps: list[str]) -> list[float]:
    """Score with plain transformers: the bare decoder, the prompt written out, the head as two
    matrix products.
    """
    config = Qwen2Config.from_pretrained(folder)
    weights = {key: value.float() for key, value in load_file(folder / "model.safetensors").items()}
    decoder = Qwen2Model(config).eval()
    decoder.load_state_dict(
        {
            key.removeprefix("model."): value
            for key, value in weights.items()
            if key.startswith("model.")
        }
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = (
        "<|im_start|>system\nPlease reason step by step, and put your final answer within"
        f" \\boxed{{}}.<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        + "".join(f"{step}<extra_0>" for step in steps)
        + "<|im_end|>\n"
    )
    ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)])
    with torch.no_grad():
        states = decoder(ids).last_hidden_state[0]
    hidden = linear(states, weights["score.0.weight"], weights["score.0.bias"]).clamp(min=0)
    logits = linear(hidden, weights["score.2.weight"], weights["score.2.bias"])
    right = torch.exp(logits[:, 1]) / torch.exp(logits).sum(dim=1)
    return right[ids[0] == tokenizer.convert_tokens_to_ids("<extra_0>")].tolist()


def _compare_with_plain(folder: Path, solutions: list[tuple[str, list[str]]]) -> None:
    scorer = load_scorer(str(folder), engine="hf", device="cpu")
    ours = scorer.score([scorer.encode(question, steps) for question, steps in solutions])
    for (question, steps), scores in zip(solutions, ours, strict=True):
        assert scores == pytest.approx(_plain_scores(folder, question, steps), abs=1e-5)
    flat = [score for scores in ours for score in scores]
    assert max(flat) - min(flat) > 0.1  # the comparison means something


def test_scores_equal_a_plain_transformers_computation(folder: Path) -> None:
    _compare_with_plain(folder, random_solutions(20, seed=5))


@pytest.mark.skipif(
    not (TINY / "tiny-prm" / "model.safetensors").is_file(),
    reason="checkpoints/tiny/tiny-prm is not there",
)
def test_scores_of_the_shipped_prm_equal_a_plain_transformers_computation() -> None:
    question = "Tom has 3 apples and buys 4 more. How many apples does he have?"
    solutions = [
        (question, ["3 + 4 = 7.", "The answer is \\boxed{7}."]),
        (question, ["3 + 4 = 9.", "The answer is \\boxed{9}."]),
        (question, ["\n\nWait, let me check.", "3 + 4 = 7", "So it is \\boxed{7}"]),
    ]
    _compare_with_plain(TINY / "tiny-prm", solutions + random_solutions(10, seed=6))


def test_the_saved_layout_is_the_published_one(folder: Path) -> None:
    keys = set(load_file(folder / "model.safetensors"))
    assert {key for key in keys if not key.startswith("model.")} == {
        f"score.{part}.{kind}" for part in (0, 2) for kind in ("weight", "bias")
    }
    assert {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.self_attn.q_proj.bias",
    } <= keys
    assert json.loads((folder / "config.json").read_text())["architectures"] == [
        "Qwen2ForProcessRewardModel"
    ]


def test_forward_gives_logits_at_the_wanted_positions(folder: Path) -> None:
    model, ids = _load(folder), torch.arange(10, 30).view(2, 10)
    with torch.no_grad():
        logits = model(ids, torch.tensor([1, 0]), torch.tensor([9, 3]))
        states = model.model(input_ids=ids).last_hidden_state
        expected = torch.stack([model.score(states[1, 9]), model.score(states[0, 3])])
    assert torch.allclose(logits, expected)


def _with_weights(folder: Path, target: Path, change: dict[str, torch.Tensor | None]) -> Path:
    """Copy a PRM with some weights replaced, added, or (None) left out."""
    target.mkdir()
    (target / "config.json").write_text((folder / "config.json").read_text())
    weights = {**load_file(folder / "model.safetensors"), **change}
    save_file(
        {key: value for key, value in weights.items() if value is not None},
        target / "model.safetensors",
        metadata={"format": "pt"},
    )
    return target


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"score.2.bias": None}, r"missing: score\.2\.bias"),
        ({"score.4.weight": torch.zeros(2, 2)}, r"unexpected: score\.4\.weight"),
        ({"score.2.weight": torch.zeros(1, 32)}, r"of another shape: score\.2\.weight"),
    ],
)
def test_a_head_that_does_not_fit_is_an_error_and_never_random(
    folder: Path, tmp_path: Path, change: dict[str, torch.Tensor | None], named: str
) -> None:
    with pytest.raises(BadRecord, match=named):
        _load(_with_weights(folder, tmp_path / "changed", change))


def test_a_language_model_head_beside_the_score_head_is_ignored(
    folder: Path, tmp_path: Path
) -> None:
    _load(_with_weights(folder, tmp_path / "changed", {"lm_head.weight": torch.zeros(4, 32)}))


def test_a_language_model_is_not_taken_for_a_prm(folder: Path, tmp_path: Path) -> None:
    Qwen2ForCausalLM(Qwen2Config.from_pretrained(folder)).save_pretrained(tmp_path / "lm")
    with pytest.raises(BadRecord, match=r"missing: score\.0\.bias, score\.0\.weight"):
        _load(tmp_path / "lm")


def test_a_folder_without_weights_is_a_missing_input(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(MissingInput, match="cannot be loaded"):
        _load(tmp_path)


def test_bfloat16_keeps_the_rotary_frequencies_and_a_float32_head(folder: Path) -> None:
    model = QwenAdapter().load(str(folder), device=CPU, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16
    assert isinstance(model, QwenPrm) and model.score[2].weight.dtype == torch.float32
    scores = QwenAdapter().read_out(model, torch.randn(5, 32, dtype=torch.bfloat16))
    assert scores.dtype == torch.float32


def test_zeroed_rotary_frequencies_are_noticed(folder: Path) -> None:
    model = _load(folder)
    check_rotary("m", model)
    model.model.rotary_emb.inv_freq.zero_()
    with pytest.raises(BadRecord, match=r"PRM m: rotary frequencies are \[0\.0, 0\.0, 0\.0\]"):
        check_rotary("m", model)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_model_that_scores_everything_the_same_is_noticed(folder: Path, value: float) -> None:
    model = _load(folder)
    check_scores_differ("m", model, model.score)
    with torch.no_grad():
        model.score[2].weight.fill_(value)
    with pytest.raises(BadRecord, match="PRM m gives two different inputs the same scores"):
        check_scores_differ("m", model, model.score)


def test_steps_end_at_their_tags_and_the_text_is_the_published_form(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    encoded = QwenAdapter().encode(
        tokenizer, "What is 1+1?", ["First.", "\n\n<think>π</think> so \\boxed{2}"]
    )
    text = tokenizer.decode(encoded.input_ids)
    assert (
        text == "<|im_start|>system\nPlease reason step by step, and put your final answer within"
        " \\boxed{}.<|im_end|>\n<|im_start|>user\nWhat is"
        " 1+1?<|im_end|>\n<|im_start|>assistant\nFirst.<extra_0>\n\n<think>π</think> so"
        " \\boxed{2}<extra_0><|im_end|>\n"
    )
    assert [
        tokenizer.decode(encoded.input_ids[: end + 1]).rsplit("assistant\n")[-1]
        for end in encoded.step_ends
    ] == ["First.<extra_0>", "First.<extra_0>\n\n<think>π</think> so \\boxed{2}<extra_0>"]


@pytest.mark.parametrize(
    ("question", "steps", "message"),
    [
        ("Q", [], "without steps"),
        ("Q", ["a", " \n"], "step 2 of 2 is blank"),
        ("  ", ["a"], "the question is blank"),
        ("Q", ["a<extra_0>b"], r"step 1 of 1 contains '<extra_0>'"),
        ("Q", ["a", "b<|im_end|>"], r"step 2 of 2 contains '<\|im_end\|>'"),
        ("Q <|endoftext|>", ["a"], r"the question contains '<\|endoftext\|>'"),
    ],
)
def test_what_the_prompt_cannot_hold_is_an_error(
    tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str], message: str
) -> None:
    with pytest.raises(BadRecord, match=message):
        QwenAdapter().encode(tokenizer, question, steps)


def test_a_tokenizer_without_the_tag_is_refused() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")), unk_token="?"
    )
    with pytest.raises(BadRecord, match="no token <extra_0>"):
        step_tag_id(other)


def test_the_head_is_no_linear_direction(folder: Path) -> None:
    assert QwenAdapter().direction(_load(folder)) is None
