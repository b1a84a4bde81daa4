"""Finding the family that serves a PRM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rewardscope.errors import BadRecord, MissingInput, UnknownName
from rewardscope.prms import DEFAULT_PRM, adapters, find_adapter, load_scorer, refuse_prm


def test_published_names_need_no_look_at_the_model() -> None:
    assert find_adapter(DEFAULT_PRM).family == "qwen"


def test_a_folder_is_known_by_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["Qwen2ForProcessRewardModel"]})
    )
    assert find_adapter(str(tmp_path)).family == "qwen"


def _folder(folder: Path, architecture: str) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "architecture", "family"),
    [
        ("any", "Qwen2ForProcessRewardModel", "qwen"),
        ("ReasonFlux-PRM-7B", "Qwen2ForProcessRewardModel", "reasonflux"),
        ("Qwen2.5-Math-7B-PRM800K", "Qwen2ForProcessRewardModel", "qwen"),
        ("Qwen2.5-Math-7B-PRM800K", "Qwen2ForTokenClassification", "pure"),
        ("any", "Qwen2ForPrmModel", "skywork-o1"),
        ("any", "LlamaForTokenClassification", "trl"),
        ("Qwen2.5-Math-7B-Instruct-PRM-0.2", "Qwen2ForTokenClassification", "h4"),
        ("Math-Shepherd-mine", "MistralForCausalLM", "math-shepherd"),
        ("math-shepherd-trl", "MistralForTokenClassification", "trl"),
        ("Llama3.1-8B-PRM-Deepseek-Data", "LlamaForCausalLM", "rlhflow"),
        ("any", "MistralForSequenceClassification", "outcome"),
    ],
)
def test_a_folder_is_known_by_its_architecture_and_where_that_is_not_enough_by_its_name(
    tmp_path: Path, name: str, architecture: str, family: str
) -> None:
    assert find_adapter(_folder(tmp_path / name, architecture)).family == family


def test_a_published_name_is_of_one_family_and_found() -> None:
    published = [(name, adapter.family) for adapter in adapters() for name in adapter.names]
    assert len({name for name, _ in published}) == len(published)
    assert [find_adapter(name).family for name, _ in published] == [
        family for _, family in published
    ]


@pytest.mark.parametrize("architecture", ["MistralForCausalLM", "Gemma3ForCausalLM"])
def test_a_language_model_is_no_prm_and_the_error_names_the_nearest(
    tmp_path: Path, architecture: str
) -> None:
    folder = _folder(tmp_path / "math-shepard-mistral-7b", architecture)
    nearest = r"did you mean 'peiyi9979/math-shepherd-mistral-7b-prm'"
    with pytest.raises(
        UnknownName,
        match=rf"PRM {folder} of architecture {architecture}: 'math-shepard-mistral-7b'; {nearest}",
    ):
        find_adapter(folder)


def test_an_unknown_hub_name_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import PreTrainedConfig

    def not_found(name: str) -> None:
        raise OSError(f"{name} is not on the hub")

    monkeypatch.setattr(PreTrainedConfig, "get_config_dict", not_found)
    with pytest.raises(UnknownName, match=r"did you mean 'Qwen/Qwen2\.5-Math-PRM-7B'"):
        find_adapter("Qwen/Qwen2.5-Math-PRM-8B")


@pytest.mark.parametrize("name", ["./no-such-prm", "checkpoints/tiny/no-such-prm"])
def test_a_folder_that_is_not_there_is_a_missing_input(name: str) -> None:
    with pytest.raises(MissingInput, match=f"folder {name} is not there"):
        load_scorer(name, engine="hf", device="cpu")


def test_a_folder_without_or_with_a_broken_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"no config\.json"):
        find_adapter(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadRecord, match=r"config\.json is not JSON"):
        find_adapter(str(tmp_path))


@pytest.mark.parametrize(
    "policy",
    [
        "peiyi9979/math-shepherd-mistral-7b-prm",
        "RLHFlow/Llama3.1-8B-PRM-Mistral-Data@main",
        "models/Llama3.1-8B-PRM-Deepseek-Data",
        "./math-shepherd-prm-mine/",
    ],
)
def test_a_prm_with_the_config_of_a_language_model_is_no_policy(policy: str) -> None:
    with pytest.raises(BadRecord, match=r"is by its name a PRM \((math-shepherd|rlhflow)\)"):
        refuse_prm(policy)


@pytest.mark.parametrize("policy", ["org/mistral-7b-math-shepherd-sft", "models/tiny-instruct"])
def test_a_policy_that_was_trained_on_a_prms_data_is_taken(policy: str) -> None:
    refuse_prm(policy)


def test_the_registry_imports_no_heavy_library() -> None:
    code = "import sys, rewardscope.prms; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
