"""A PRM whose weights or tokenizer do not fit its family is refused; nothing is ever left at its
random start.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.prms import adapters, load_scorer
from tests.contract.tiny_prms import make_prm, qwen_tokenizer

HEADS = {
    "qwen": "score.2.weight",
    "reasonflux": "score.2.weight",
    "math-shepherd": "lm_head.weight",
    "rlhflow": "lm_head.weight",
    "skywork-o1": "v_head.summary.weight",
    "trl": "score.weight",
    "h4": "score.weight",
    "pure": "score.weight",
    "outcome": "score.weight",
}
Change = Callable[[dict[str, torch.Tensor], str], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a sound PRM of each family."""
    base = tmp_path_factory.mktemp("prms")
    return {family: make_prm(family, base) for family in HEADS}


def copy_of(folder: Path, base: Path) -> Path:
    return shutil.copytree(folder, base / folder.name)


def change_weights(folder: Path, change: Change, head: str) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights, head)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def take_away(weights: dict[str, torch.Tensor], head: str) -> None:
    del weights[head]


def widen(weights: dict[str, torch.Tensor], head: str) -> None:
    weights[head] = torch.zeros(len(weights[head]) + 3, weights[head].shape[1])


def add(weights: dict[str, torch.Tensor], head: str) -> None:
    weights["score.9.weight"] = torch.zeros(2, 2)


def rename_layers(weights: dict[str, torch.Tensor], head: str) -> None:
    for key in [key for key in weights if ".layers.2." in key]:
        weights[key.replace(".layers.2.", ".blocks.2.")] = weights.pop(key)


def make_constant(weights: dict[str, torch.Tensor], head: str) -> None:
    weights[head].zero_()


def test_every_family_is_here() -> None:
    assert set(HEADS) == {adapter.family for adapter in adapters()}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (take_away, "missing: {head}"),
        (widen, "of another shape: {head}"),
        (add, "unexpected: score.9.weight"),
        (rename_layers, "missing: model.layers.2"),
        (make_constant, "gives two different inputs the same scores"),
    ],
)
@pytest.mark.parametrize("family", HEADS)
def test_weights_that_do_not_fit_are_an_error_and_never_random(
    original: dict[str, Path], family: str, tmp_path: Path, change: Change, named: str
) -> None:
    folder = copy_of(original[family], tmp_path)
    change_weights(folder, change, HEADS[family])
    with pytest.raises(BadRecord) as error:
        load_scorer(str(folder), engine="hf", device="cpu")
    assert named.format(head=HEADS[family]) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("family", HEADS)
def test_a_folder_without_safetensors_is_a_missing_input(
    original: dict[str, Path], family: str, tmp_path: Path
) -> None:
    folder = copy_of(original[family], tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingInput, match="cannot be loaded"):
        load_scorer(str(folder), engine="hf", device="cpu")


def test_buffers_of_old_checkpoints_are_let_pass(original: dict[str, Path], tmp_path: Path) -> None:
    folder = copy_of(original["math-shepherd"], tmp_path)
    change_weights(
        folder,
        lambda weights, _: weights.update(
            {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
        ),
        "",
    )
    load_scorer(str(folder), engine="hf", device="cpu")


@pytest.mark.parametrize("family", ["qwen", "skywork-o1"])
def test_a_language_model_head_beside_the_reward_head_is_ignored(
    original: dict[str, Path], family: str, tmp_path: Path
) -> None:
    folder = copy_of(original[family], tmp_path)
    change_weights(
        folder, lambda weights, _: weights.update({"lm_head.weight": torch.zeros(4, 32)}), ""
    )
    load_scorer(str(folder), engine="hf", device="cpu")


@pytest.mark.parametrize(("family", "outputs"), [("trl", 3), ("pure", 1), ("outcome", 2)])
def test_a_classifier_with_another_number_of_outputs_is_an_error(
    original: dict[str, Path], family: str, outputs: int, tmp_path: Path
) -> None:
    folder = copy_of(original[family], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(label): f"LABEL_{label}" for label in range(outputs)}
    config["label2id"] = {name: int(label) for label, name in config["id2label"].items()}
    (folder / "config.json").write_text(json.dumps(config))

    def resize(weights: dict[str, torch.Tensor], head: str) -> None:
        weights[head] = torch.randn(outputs, weights[head].shape[1])
        if "score.bias" in weights:
            weights["score.bias"] = torch.randn(outputs)

    change_weights(folder, resize, HEADS[family])
    with pytest.raises(BadRecord, match=r"the head of PRM .* and its family has a linear one"):
        load_scorer(str(folder), engine="hf", device="cpu")


def test_a_tokenizer_without_the_familys_tokens_is_an_error(
    original: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy_of(original["math-shepherd"], tmp_path)
    (folder / "tokenizer.json").unlink()
    qwen_tokenizer().save_pretrained(folder)
    with pytest.raises(BadRecord, match="has no token 'ки', '\\+' or '-'"):
        load_scorer(str(folder), engine="hf", device="cpu")
