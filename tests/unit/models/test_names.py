"""A policy that is not there, or is none, is refused at once; weights that do not fit are named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.models.load import check_vocabulary, load_causal_lm, load_tokenizer
from rewardscope.models.names import check_policy
from rewardscope.paths import TINY

Weights = dict[str, torch.Tensor]


def load(folder: Path) -> PreTrainedModel:
    return load_causal_lm(str(folder), device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def policy(tiny_random_policy: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_random_policy, tmp_path / "policy")


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_prm_is_no_policy(policy: Path) -> None:
    with pytest.raises(BadRecord, match=r"tiny-prm is a reward model \(Qwen2ForProcessReward"):
        check_policy(str(TINY / "tiny-prm"))
    change_weights(policy, lambda w: w.update({"v_head.summary.weight": torch.zeros(1, 8)}))
    with pytest.raises(BadRecord, match=r"unexpected: v_head\.summary\.weight"):
        load(policy)


def test_a_folder_that_is_not_there_names_the_nearest(policy: Path) -> None:
    with pytest.raises(MissingInput, match=rf"did you mean {policy}\?"):
        check_policy(f"{policy}y")
    with pytest.raises(MissingInput, match="no/such is no folder"):
        check_policy(f"{policy}/no/such/model")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(policy: Path, value: float) -> None:
    change_weights(policy, lambda w: w["model.norm.weight"].fill_(value))
    with pytest.raises(BadRecord, match=r"NaN or infinity in model\.norm\.weight"):
        load(policy)


def test_a_missing_tensor_is_named(policy: Path) -> None:
    change_weights(policy, lambda w: w.pop("model.norm.weight"))
    with pytest.raises(BadRecord, match=r"missing: model\.norm\.weight"):
        load(policy)


def test_a_vocabulary_beyond_the_embedding_is_refused_and_added_tokens_are_a_warning(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer, model = load_tokenizer(str(policy)), load(policy)
    capsys.readouterr()
    check_vocabulary("p", tokenizer, model)
    assert not capsys.readouterr().err
    model.resize_token_embeddings(len(tokenizer) - 1)
    check_vocabulary("p", tokenizer, model)
    assert "a text with one of these 1 added tokens fails" in capsys.readouterr().err
    added = len(tokenizer.added_tokens_decoder)
    model.resize_token_embeddings(len(tokenizer) - added - 1)
    last = len(tokenizer) - 1
    with pytest.raises(BadRecord, match=rf"ids up to {last}, its embedding {last - added} rows"):
        check_vocabulary("p", tokenizer, model)


def test_truncated_weights_are_one_line(policy: Path) -> None:
    path = policy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(MissingInput, match=r"cannot be loaded: ") as caught:
        load(policy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_hidden_layers": 1, "layer_types": ["full_attention"]}, "unexpected: model.layers.1"),
        ({"intermediate_size": 7}, "of another shape"),
        ({"model_type": "nosuch"}, "cannot be loaded"),
        ({"hidden_size": "wide"}, "cannot be loaded"),
        ({"architectures": 3}, "architectures: Expected"),
    ],
)
def test_a_config_of_another_model_is_one_line(
    policy: Path, values: dict[str, object], said: str
) -> None:
    change_config(policy, **values)
    with pytest.raises((BadRecord, MissingInput), match=said) as caught:
        load(policy)
    assert "\n" not in str(caught.value)
