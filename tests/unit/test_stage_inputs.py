"""What identifies the inputs of a stage, and what is said where one is not there."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.stage import Stage, StageConfig, find_required, option, require
from rewardscope.storage.files import manifest_of


@dataclass(frozen=True, kw_only=True)
class ModelConfig(StageConfig):
    """Say how long a model's config is."""

    prm: str = option("hub/prm", help="PRM", model=True)


def measure(prm: str, out: Path) -> bool:
    """Run the stage; say whether it computed anything."""
    stage = Stage("measure", ModelConfig(prm=prm), inputs={"prm": prm}, out=out)
    if stage.is_done():
        return False
    with stage:
        stage.work.mkdir(exist_ok=True)
        (stage.work / "length.txt").write_text(str(len((Path(prm) / "config.json").read_bytes())))
        stage.finish([stage.work / "length.txt"], rows=1)
    return True


def test_the_folder_of_a_model_is_the_same_however_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "models" / "tiny-prm", tmp_path / "out"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert measure("models/tiny-prm", out)
    for typed in (str(folder), "./models/tiny-prm/", "models/../models/tiny-prm"):
        assert not measure(typed, out)
        stage = Stage("measure", ModelConfig(prm=typed), inputs={"prm": typed}, out=out)
        assert stage.key == json.loads(manifest_of(out).read_text())["key"]
    # an older version kept what was typed
    manifest = json.loads(manifest_of(out).read_text())
    manifest_of(out).write_text(json.dumps(manifest | {"settings": {"prm": "models/tiny-prm"}}))
    assert not measure(str(folder), out) and not measure("models/tiny-prm", out)
    (folder / "config.json").write_text('{"a": 1}')
    assert measure(str(folder), out)  # what is in it counts
    other = tmp_path / "elsewhere" / "tiny-prm"
    other.mkdir(parents=True)
    (other / "config.json").write_text('{"a": 2}')
    with pytest.raises(ConfigError, match="made from another prm"):
        measure(str(other), out)
    (tmp_path / "models" / "other").mkdir()
    with pytest.raises(ConfigError, match="prm 'tiny-prm' -> 'other'"):
        measure("models/other", out)


def test_a_hub_id_counts_as_it_is() -> None:
    config = ModelConfig(prm="org/name")
    assert config.result_settings() == {"prm": "org/name"}


def test_a_required_input_that_is_absent_names_the_task_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="x is not there; make it with invoke infer"):
        require(None, "x", "infer")
    with pytest.raises(MissingInput, match="invoke infer"):
        require(tmp_path / "absent", "x", "infer")


def test_an_input_that_is_not_there_says_where_it_was_looked_for_and_what_is_near(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = Path("data")
    for folder in ("math-rm-tiny_tinymath", "math-rm-tiny_tinymat"):
        (base / folder).mkdir(parents=True)
    (base / "math-rm-tiny_tinymath" / "manifest.json").write_text("{}")  # the other is no result
    (base / "tiny_tinymath.jsonl").touch()
    cases = [
        ("math-rm-tiny_tinymaht", "", "save-acts", "math-rm-tiny_tinymath"),
        ("tiny_tinymaths.jsonl", ".jsonl", "infer", "tiny_tinymath"),
        ("data/tiny_tinymth", ".jsonl", "infer", "data/tiny_tinymath"),
    ]
    for name, suffix, made_by, near in cases:
        with pytest.raises(MissingInput) as caught:
            find_required(name, base, made_by, suffix=suffix)
        said = f"it was looked for here and below data; did you mean {near}?"
        asked = f"make it with invoke {made_by}"
        assert str(caught.value) == f"{name} is not there; {asked}; {said}"
        assert find_required(near, base, made_by, suffix=suffix).exists()
    with pytest.raises(MissingInput, match=r"^/no/such is not there; make it with invoke infer$"):
        find_required("/no/such", base, "infer")
