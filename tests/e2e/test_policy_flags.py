"""What a policy is asked and how it is loaded: each flag changes the result or is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardscope.engines.hf import HfEngine
from rewardscope.errors import ConfigError, MissingInput
from rewardscope.records import Manifest
from rewardscope.settings import Settings
from rewardscope.stages import save_acts
from rewardscope.stages.infer import Config, run
from rewardscope.storage.acts import ActStore
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.manifests import read_finished

TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"


@pytest.fixture
def given(tiny_random_policy: Path) -> dict[str, Any]:
    return {
        "model_name": str(tiny_random_policy),
        "datasets": ("tinymath",),
        "limit": 2,
        "n": 2,
        "max_tokens": 8,
        "engine": "hf",
    }


def _texts(data_dir: Path, given: dict[str, Any], **changes: Any) -> list[tuple[str, ...]]:
    (out,) = run(Config(**{**given, **changes}), Settings(data_dir=data_dir))
    return [trace.steps for row in read_solved(out) for trace in row.traces]


def _manifest(data_dir: Path) -> Manifest:
    (path,) = data_dir.glob("*.jsonl")
    return read_finished(path)


def test_each_flag_changes_the_text_and_stands_in_the_settings(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    (tmp_path / "shots.jsonl").write_text(json.dumps({"question": "1 + 1?", "solution": "2"}))
    (tmp_path / "ask.txt").write_text("Now: {question}\n")
    usual = _texts(tmp_path / "usual", given)
    assert not {"top_k", "prompt", "dtype"} & _manifest(tmp_path / "usual").settings.keys()
    assert "prompt_form" not in _manifest(tmp_path / "usual").extra
    for name, value, kept in (
        ("top_k", 2, 2),
        ("min_p", 0.5, 0.5),
        ("system_prompt", "Be brief.", "Be brief."),
        ("prompt", f"@{tmp_path / 'ask.txt'}", "Now: {question}"),
        ("template", tmp_path / "t.jinja", None),
        ("few_shot", tmp_path / "shots.jsonl", None),
    ):
        assert _texts(tmp_path / name, given, **{name: value}) != usual, name
        settings = _manifest(tmp_path / name).settings
        assert settings[name] == kept or settings[name].startswith("sha256:")


def test_a_result_of_other_prompts_is_refused_and_one_of_the_defaults_is_skipped(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    _texts(tmp_path, given)
    key = _manifest(tmp_path).key
    with pytest.raises(ConfigError, match=r"top_k 0 -> 3"):
        _texts(tmp_path, given, top_k=3)
    with pytest.raises(ConfigError, match=r"system_prompt None -> 'x+\.\.\. \(502 characters\)"):
        _texts(tmp_path, given, system_prompt="x" * 500)
    _texts(tmp_path, given, top_k=3, force=True)
    with pytest.raises(ConfigError, match=r"top_k 3 -> 0"):
        _texts(tmp_path, given)
    _texts(tmp_path, given, force=True)
    assert _manifest(tmp_path).key == key


def test_the_states_of_a_policy_are_those_after_the_prompt_that_it_was_given(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    asked = {"system_prompt": "Be brief.", "template": tmp_path / "t.jinja"}
    (out,) = run(Config(**given, **asked), Settings(data_dir=tmp_path))
    folder = save_acts.run(
        save_acts.Config(ds_name=str(out), mode="lm", model_name=given["model_name"], layers="1"),
        Settings(data_dir=tmp_path),
    )
    text = "".join(next(iter(ActStore(folder).sequences)).tokens)
    assert text.startswith("Be brief.\n")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"top_k": -1}, ConfigError, "--top-k -1"),
        ({"min_p": 1.5}, ConfigError, "--min-p 1.5"),
        ({"gpu_memory": 0.0}, ConfigError, "--gpu-memory 0.0"),
        ({"tensor_parallel": 0}, ConfigError, "--tensor-parallel 0: at least 1"),
        ({"prompt": "{q}"}, ConfigError, r"unknown placeholder \{q\}"),
        ({"system_prompt": "@no/file"}, MissingInput, "--system-prompt @no/file: no such file"),
        ({"template": Path("no.jinja")}, MissingInput, "--template no.jinja: no such file"),
        ({"few_shot": Path("no.jsonl")}, MissingInput, "--few-shot no.jsonl: no such file"),
        ({"revision": "v1"}, ConfigError, "is a folder, which has none"),
        ({"device": "cuda:99"}, ConfigError, "device 'cuda:99' is not there"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, given: dict[str, Any], change: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        _texts(tmp_path, given, **change)


def test_a_revision_is_part_of_the_name_that_is_loaded_and_recorded(given: dict[str, Any]) -> None:
    config = Config(**{**given, "model_name": "org/model", "revision": "v2"}).resolved()
    assert (config.model_name, config.revision) == ("org/model@v2", None)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_runs_in_the_precision_that_was_asked_for(
    tiny_random_policy: Path, dtype: str
) -> None:
    engine = HfEngine(str(tiny_random_policy), device="cpu", dtype=dtype)
    assert engine.model.dtype == getattr(torch, dtype)
