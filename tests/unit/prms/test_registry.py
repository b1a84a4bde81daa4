"""Finding the family that serves a PRM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rewardscope.errors import BadRecord, MissingInput, UnknownName
from rewardscope.prms import DEFAULT_PRM, find_adapter, load_scorer


def test_published_names_need_no_look_at_the_model() -> None:
    assert find_adapter(DEFAULT_PRM).family == "qwen"


def test_a_folder_is_known_by_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForProcessRewardModel"]}))
    assert find_adapter(str(tmp_path)).family == "qwen"


def test_another_architecture_is_named_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(UnknownName, match=r"LlamaForCausalLM.*known: Qwen2ForProcessRewardModel"):
        find_adapter(str(tmp_path))


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


def test_the_registry_imports_no_heavy_library() -> None:
    code = "import sys, rewardscope.prms; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
