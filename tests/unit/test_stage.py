"""Stages: when they skip, when they recompute, when they refuse, and what a killed run leaves."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.stage import Stage, StageConfig, option
from rewardscope.storage.files import manifest_of, sha256


@dataclass(frozen=True, kw_only=True)
class DoubleConfig(StageConfig):
    """Double the number in a file."""

    times: int = option(2, help="factor")
    device: str = option("cpu", help="where", key=False)


CONFIG = DoubleConfig()


def double(source: Path, out: Path, config: DoubleConfig = CONFIG) -> bool:
    """Run the stage; say whether it computed anything."""
    stage = Stage("double", config, inputs={"number": source}, out=out)
    if stage.is_done():
        return False
    with stage:
        target = stage.work if out.suffix == ".jsonl" else stage.work / "result.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(str(int(source.read_text()) * config.times))
        stage.finish([target], rows=1, skipped={"odd": 3}, extra={"width": 7})
    return True


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "number.txt"
    path.write_text("21")
    return path


@pytest.mark.parametrize(
    "name",
    ["folder", "math-rm-Qwen2.5-Math-7B_MATH-500", "rows.jsonl", "Qwen2.5-Math_tinymath.jsonl"],
)
def test_the_same_settings_and_inputs_skip(source: Path, tmp_path: Path, name: str) -> None:
    assert double(source, tmp_path / "out" / name)
    assert not double(source, tmp_path / "out" / name)


def test_the_manifest_lies_inside_a_folder_whose_name_has_dots_and_beside_a_file(
    source: Path, tmp_path: Path
) -> None:
    folder, file = tmp_path / "math-rm-Qwen2.5-Math-7B", tmp_path / "Qwen2.5-Math-7B_x.jsonl"
    before = manifest_of(folder), manifest_of(file)
    double(source, folder)
    double(source, file)
    assert before == (manifest_of(folder), manifest_of(file))
    assert manifest_of(folder) == folder / "manifest.json" and manifest_of(folder).is_file()
    assert (
        manifest_of(file) == tmp_path / "Qwen2.5-Math-7B_x.jsonl.manifest.json"
        and manifest_of(file).is_file()
    )


def test_other_settings_stop_with_the_change_and_name_force(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    double(source, out)
    with pytest.raises(
        ConfigError, match=r"out was made with other settings \(times 2 -> 3\); pass --force"
    ):
        double(source, out, DoubleConfig(times=3))
    assert (out / "result.txt").read_text() == "42"


def test_force_replaces_other_settings_and_nothing_else_in_the_folder(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    double(source, out)
    (out / "notes.txt").write_text("mine")
    assert double(source, out, DoubleConfig(times=3, force=True))
    assert (out / "result.txt").read_text() == "63"
    assert (out / "notes.txt").read_text() == "mine"


def test_force_with_the_same_settings_computes_again(source: Path, tmp_path: Path) -> None:
    double(source, tmp_path / "out")
    assert double(source, tmp_path / "out", DoubleConfig(force=True))


def test_a_setting_that_is_gone_counts_as_changed_and_is_named(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    double(source, out)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(
        json.dumps(manifest | {"settings": {"times": 2, "speed": 9}})
    )
    with pytest.raises(ConfigError, match=r"\(speed 9 -> None\)"):
        double(source, out)


def test_a_folder_of_another_stage_is_never_overwritten(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    double(source, out)
    with pytest.raises(ConfigError, match=r"out was made with other settings \(double\)"):
        Stage("triple", CONFIG, inputs={"number": source}, out=out).is_done()


def test_a_setting_that_does_not_change_the_result_still_skips(
    source: Path, tmp_path: Path
) -> None:
    double(source, tmp_path / "out")
    assert not double(source, tmp_path / "out", DoubleConfig(device="cuda"))


def test_a_changed_input_recomputes(source: Path, tmp_path: Path) -> None:
    double(source, tmp_path / "out")
    source.write_text("50")
    assert double(source, tmp_path / "out")
    assert (tmp_path / "out" / "result.txt").read_text() == "100"


def test_a_moved_input_with_the_same_content_skips(source: Path, tmp_path: Path) -> None:
    double(source, tmp_path / "out")
    assert not double(source.rename(tmp_path / "moved.txt"), tmp_path / "out")


def test_a_stage_output_edited_by_hand_is_refused_until_it_is_adopted(
    source: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second"
    double(source, first)
    double(first, second)
    assert not double(first, second)
    first.write_text("77")
    with pytest.raises(BadRecord, match=r"first\.jsonl is not what its manifest says; re-run .*"):
        double(first, second)
    manifest_of(first).unlink()  # as the message says
    assert double(first, second)
    assert (second / "result.txt").read_text() == "154"


def test_a_rebuilt_folder_counts_as_a_changed_input_even_with_the_same_files(
    source: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "folder", tmp_path / "out"
    double(source, folder)
    before = Stage("reader", CONFIG, inputs={"folder": folder}, out=out).key
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"seconds": 99.0}))
    assert Stage("reader", CONFIG, inputs={"folder": folder}, out=out).key != before


def test_a_missing_output_recomputes(source: Path, tmp_path: Path) -> None:
    double(source, tmp_path / "out")
    (tmp_path / "out" / "result.txt").unlink()
    assert double(source, tmp_path / "out")
    assert (tmp_path / "out" / "result.txt").read_text() == "42"


def test_a_killed_run_leaves_the_old_result_and_the_next_one_computes(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    double(source, out)
    config = DoubleConfig(times=3, force=True)
    stage = Stage("double", config, inputs={"number": source}, out=out)
    assert not stage.is_done()

    def work_that_is_stopped() -> None:
        with stage:
            (stage.work / "result.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_that_is_stopped()
    assert (out / "result.txt").read_text() == "42" and not double(source, out)
    assert double(source, out, config) and (out / "result.txt").read_text() == "63"


def test_a_stage_that_never_finishes_is_a_broken_invariant(source: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="without finish"),
        Stage("double", CONFIG, inputs={"number": source}, out=tmp_path / "out"),
    ):
        pass


def test_the_manifest_says_what_was_made_from_what(source: Path, tmp_path: Path) -> None:
    double(source, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["settings"] == {"times": 2}
    assert manifest["inputs"]["number"] == {
        "source": str(source),
        "digest": f"file:{sha256(source)}",
    }
    assert manifest["outputs"] == {"result.txt": sha256(tmp_path / "out" / "result.txt")}
    assert (manifest["rows"], manifest["skipped"], manifest["extra"]) == (
        1,
        {"odd": 3},
        {"width": 7},
    )


def test_the_key_tells_stages_settings_and_inputs_apart(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    keys = [
        Stage("double", CONFIG, inputs={"number": source}, out=out).key,
        Stage("other", CONFIG, inputs={"number": source}, out=out).key,
        Stage(
            "double", dataclasses.replace(CONFIG, times=3), inputs={"number": source}, out=out
        ).key,
        Stage("double", CONFIG, inputs={"number": "a/hub-id"}, out=out).key,
    ]
    assert len(set(keys)) == 4


def test_a_model_folder_is_told_apart_by_the_content_of_its_files(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.safetensors").write_bytes(b"\0" * (3 << 20))

    def key() -> str:
        return Stage("double", CONFIG, inputs={"model": model}, out=tmp_path / "out").key

    before = key()
    assert key() == before
    (model / "weights.safetensors").write_bytes(b"\0" * (3 << 20) + b"1")
    assert key() != before
