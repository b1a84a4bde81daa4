"""Each family's published recipe, written here with plain transformers and nothing of ours, against
the scores that we give.

`pytest tests/contract -k recipe -s` shows the largest deviation of each family.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import linear
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2Model,
)

from rewardscope.prms import adapters, load_scorer
from tests.contract.tiny_prms import make_prm, random_solutions

Recipe = Callable[[Path, PreTrainedTokenizerBase, str, list[str]], list[float]]
SYSTEM = (
    "<|im_start|>system\nPlease reason step by step, and put your final answer within"
    " \\boxed{}.<|im_end|>\n"
)
LLAMA_SYSTEM = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul"
    " 2024\n<|eot_id|>"
)


@cache
def plain_model(auto_class: Any, folder: Path) -> PreTrainedModel:
    return auto_class.from_pretrained(folder).eval()


def logits(auto_class: type, folder: Path, ids: list[int]) -> Tensor:
    with torch.no_grad():
        return plain_model(auto_class, folder)(torch.tensor([ids])).logits[0]


def qwen_states(folder: Path, ids: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the normed states [T, D] of the bare decoder, and all weights."""
    weights = load_file(folder / "model.safetensors")
    decoder = Qwen2Model(Qwen2Config.from_pretrained(folder)).eval()
    decoder.load_state_dict(
        {
            key.removeprefix("model."): value
            for key, value in weights.items()
            if key.startswith("model.")
        }
    )
    with torch.no_grad():
        return decoder(torch.tensor([ids])).last_hidden_state[0], weights


def two_layer(folder: Path, tokenizer: PreTrainedTokenizerBase, text: str) -> list[float]:
    ids = tokenizer.encode(text, add_special_tokens=False)
    states, weights = qwen_states(folder, ids)
    hidden = linear(states, weights["score.0.weight"], weights["score.0.bias"]).clamp(min=0)
    odds = torch.exp(linear(hidden, weights["score.2.weight"], weights["score.2.bias"]))
    return (odds[:, 1] / odds.sum(dim=1))[
        torch.tensor(ids) == tokenizer.convert_tokens_to_ids("<extra_0>")
    ].tolist()


def qwen(
    folder: Path, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
) -> list[float]:
    solution = "".join(f"{step}<extra_0>" for step in steps)
    chat = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{solution}<|im_end|>\n"
    return two_layer(folder, tokenizer, SYSTEM + chat)


def reasonflux(
    folder: Path, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
) -> list[float]:
    solution = "<extra_0>".join(steps) + "<extra_0>"
    return two_layer(
        folder,
        tokenizer,
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{solution}<|im_end|>\n",
    )


def math_shepherd(
    folder: Path, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
) -> list[float]:
    candidates, tag = tokenizer.encode("+ -")[1:], tokenizer.encode("ки")[-1]
    solution = "\n".join(
        f"Step {number}: {step.strip()} ки" for number, step in enumerate(steps, start=1)
    )
    ids = tokenizer.encode(f"{question} {solution}")
    assert ids[0] == tokenizer.bos_token_id and len(candidates) == 2
    right = logits(AutoModelForCausalLM, folder, ids)[:, candidates].softmax(dim=-1)[:, 0]
    return right[torch.tensor(ids) == tag].tolist()


def rlhflow(
    folder: Path, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
) -> list[float]:
    """Run once for each step, as the authors do, and read the third position from the end."""
    candidates = [
        tokenizer.encode("+", add_special_tokens=False)[-1],
        tokenizer.encode("-", add_special_tokens=False)[-1],
    ]
    text, scores = LLAMA_SYSTEM, []
    for number, step in enumerate(steps):
        asked = f"{question} {step.strip()}" if number == 0 else step
        text += f"<|start_header_id|>user<|end_header_id|>\n\n{asked.strip()}<|eot_id|>"
        text += "<|start_header_id|>assistant<|end_header_id|>\n\n+<|eot_id|>"
        ids = tokenizer.encode(text, add_special_tokens=False)
        scores.append(
            float(logits(AutoModelForCausalLM, folder, ids)[-3, candidates].softmax(dim=-1)[0])
        )
    return scores


def skywork(
    folder: Path, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
) -> list[float]:
    assert isinstance(tokenizer.bos_token, str)
    ids, newline, flags = (
        tokenizer.encode(tokenizer.bos_token + question + "\n"),
        tokenizer.encode("\n")[-1],
        [],
    )
    for step in steps:
        ids += [*tokenizer.encode(step), newline]
        flags.append(len(ids) - 1)
    states, weights = qwen_states(folder, ids)
    return torch.sigmoid(
        states[flags] @ weights["v_head.summary.weight"][0] + weights["v_head.summary.bias"]
    ).tolist()


def token_classification(separator: str) -> Recipe:
    """Run once for each step on the text so far, and read the last token, as the evaluation of
    HuggingFace does.
    """

    def recipe(
        folder: Path, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
    ) -> list[float]:
        scores = []
        for count in range(1, len(steps) + 1):
            text = separator.join((question, *(step.strip() for step in steps[:count]))) + separator
            scores.append(
                float(
                    logits(AutoModelForTokenClassification, folder, tokenizer.encode(text))[
                        -1
                    ].softmax(dim=-1)[1]
                )
            )
        return scores

    return recipe


def pure(
    folder: Path, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
) -> list[float]:
    ids, newline, ends = (
        tokenizer.encode(question, add_special_tokens=False),
        tokenizer.encode("\n", add_special_tokens=False),
        [],
    )
    for step in steps:
        ids += [*tokenizer.encode(step.strip(), add_special_tokens=False), *newline]
        ends.append(len(ids) - 1)
    chances = logits(AutoModelForTokenClassification, folder, ids)[ends].softmax(dim=-1)
    return (chances[:, 1] - chances[:, 0]).tolist()


def outcome(
    folder: Path, tokenizer: PreTrainedTokenizerBase, question: str, steps: list[str]
) -> list[float]:
    """Return one value, that of the whole solution."""
    text = (
        LLAMA_SYSTEM + f"<|start_header_id|>user<|end_header_id|>\n\n{question.strip()}<|eot_id|>"
    )
    text += (
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        + "\n\n".join(steps).strip()
        + "<|eot_id|>"
    )
    return logits(
        AutoModelForSequenceClassification, folder, tokenizer.encode(text, add_special_tokens=False)
    ).tolist()


RECIPES: dict[str, Recipe] = {
    "qwen": qwen,
    "reasonflux": reasonflux,
    "math-shepherd": math_shepherd,
    "rlhflow": rlhflow,
    "skywork-o1": skywork,
    "trl": token_classification("\n"),
    "h4": token_classification("\n\n"),
    "pure": pure,
    "outcome": outcome,
}


@pytest.mark.parametrize("family", [adapter.family for adapter in adapters()])
def test_scores_equal_the_published_recipe(
    family: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder, solutions = make_prm(family, tmp_path, seed=1), random_solutions(12, seed=5)
    scorer, tokenizer = (
        load_scorer(str(folder), engine="hf", device="cpu"),
        AutoTokenizer.from_pretrained(folder),
    )
    ours = scorer.score([scorer.encode(question, steps) for question, steps in solutions])
    expected = [
        RECIPES[family](folder, tokenizer, question, steps) for question, steps in solutions
    ]
    if family == "outcome":
        ours = [scores[-1:] for scores in ours]
    assert [len(scores) for scores in ours] == [len(scores) for scores in expected]
    pairs = [
        pair
        for mine, theirs in zip(ours, expected, strict=True)
        for pair in zip(mine, theirs, strict=True)
    ]
    deviation = max(abs(mine - theirs) for mine, theirs in pairs)
    record_property("max_deviation", deviation)
    print(f"{family}: largest deviation {deviation:.1e} over {len(pairs)} scores")
    assert deviation <= 1e-4
    # the comparison means something
    assert max(mine for mine, _ in pairs) - min(mine for mine, _ in pairs) > 0.3
