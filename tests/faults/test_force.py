"""What goes wrong after `--force` was given loses nothing: each way in which it once did."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rewardscope.errors import BadRecord, ConfigError, PipelineError
from rewardscope.log import get_logger
from rewardscope.storage.files import manifest_of
from rewardscope.storage.jsonl import PartialRows
from rewardscope.storage.manifests import read_finished, root_of
from rewardscope.storage.work import work_folders
from tests.faults.small_tasks import World, leftovers, small_tasks

WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown policy": ("infer", {"model_name": "no-such/policy"}),
    "unknown policy of a search": ("infer-with-prm", {"model_name": "no-such/policy"}),
    "unknown PRM of a search": ("infer-with-prm", {"prm": "no-such/prm"}),
    "unknown PRM": ("save-acts", {"prm": "no-such/prm"}),
    "unknown search": ("infer-with-prm", {"search": "no-such-search"}),
    "data set file that is not there": ("infer", {"datasets": ("no-such-set.jsonl",)}),
    "layer that save-acts does not find": ("save-acts", {"layers": "99"}),
    "layer that train-linreg does not find": ("train-linreg", {"layers": "99"}),
    "layer that train-sae does not find": ("train-sae", {"layers": "99"}),
    "layer that feature-diff does not find": ("feature-diff", {"layers": "99"}),
    "layer that dash does not find": ("dash", {"layers": "99"}),
    "k above the features": ("train-sae", {"k": "99"}),
    "device of save-acts": ("save-acts", {"device": "cuda:7"}),
    "device of train-sae": ("train-sae", {"device": "cuda:7"}),
    "device of feature-diff": ("feature-diff", {"device": "cuda:7"}),
    "device of dash": ("dash", {"device": "cuda:7"}),
    "negative seed of infer": ("infer", {"seed": -1}),
    "negative seed of a search": ("infer-with-prm", {"seed": -1}),
    "negative seed of save-acts": ("save-acts", {"seed": -1}),
    "negative seed of train-linreg": ("train-linreg", {"seed": -1}),
    "negative seed of train-sae": ("train-sae", {"seed": -1}),
    "negative seed of feature-diff": ("feature-diff", {"seed": -1}),
    "negative seed of metrics": ("metrics", {"seed": -1}),
    "generations that are not there": ("metrics", {"dataset": "no-such.jsonl"}),
    "traces that are not there": ("import-traces", {"files": ("no-such.jsonl",)}),
    "acts that are not there": ("train-linreg", {"ds_name": "no-such"}),
    "SAE that is not there": ("feature-diff", {"sae": "no-such"}),
    "SAE of pages that is not there": ("dash", {"sae": "no-such"}),
    "unknown target": ("train-linreg", {"target": "no-such"}),
    "unknown aggregation": ("metrics", {"aggregation": "no-such"}),
    "unknown kind": ("import-traces", {"kind": "no-such"}),
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hub names fail at once."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def _bytes(result: Path) -> dict[str, bytes]:
    """Return every file of a result as it is, times and manifest too."""
    names = read_finished(result).outputs
    paths = [root_of(result) / name for name in names]
    return {str(path): path.read_bytes() for path in (*paths, manifest_of(result))}


@pytest.mark.parametrize("case", WRONG)
def test_a_flag_typed_wrong_with_force_leaves_the_old_result(world: World, case: str) -> None:
    name, wrong = WRONG[case]
    task = small_tasks(world)[name]
    before = _bytes(world.run(task))
    with pytest.raises(PipelineError) as caught:
        world.run(task, force=True, **wrong)
    assert "\n" not in str(caught.value), caught.value
    assert _bytes(world.data / task.out) == before
    assert not leftovers(world.data)


@pytest.mark.parametrize(
    ("name", "source"),
    [("metrics", "scored.jsonl"), ("save-acts", "toy.jsonl"), ("import-traces", "theirs.json")],
)
def test_malformed_input_with_force_leaves_the_old_result(
    world: World, name: str, source: str
) -> None:
    task = small_tasks(world)[name]
    before = _bytes(world.run(task))
    (world.data / source).write_text('{"problem": 3\n', encoding="utf-8")
    with pytest.raises(BadRecord, match=source):
        world.run(task, force=True)
    assert _bytes(world.data / task.out) == before
    assert not leftovers(world.data)


def test_unfinished_work_of_other_flags_is_kept_and_named(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task = small_tasks(world)["infer"]
    add, calls = PartialRows.add, []

    def stop_at_the_third(self: PartialRows, solved: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(self, solved)

    monkeypatch.setattr(PartialRows, "add", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        world.run(task)
    monkeypatch.setattr(PartialRows, "add", add)
    (kept,) = work_folders(world.data / task.out)
    rows = next(kept.glob(".*.partial")).read_bytes()
    assert rows.count(b"\n") == 3  # the key and two problems
    get_logger().propagate = True
    world.run(task, max_tokens=7)  # the typo
    assert f"unfinished work with other settings or inputs is kept in {kept}" in caplog.text
    assert next(kept.glob(".*.partial")).read_bytes() == rows


def test_two_policies_of_one_short_name_are_refused_and_a_name_keeps_both(
    world: World, tmp_path: Path
) -> None:
    _refuses_both(world, "infer", "model_name", world.policy, tmp_path / "mine" / world.policy.name)


def test_two_prms_of_one_short_name_are_refused_and_a_name_keeps_both(
    world: World, tmp_path: Path
) -> None:
    _refuses_both(world, "save-acts", "prm", world.prm, tmp_path / "mine" / world.prm.name)


def test_two_acts_folders_of_one_short_name_are_refused_and_a_name_keeps_both(
    world: World, tmp_path: Path
) -> None:
    first = world.data / "math-rm-plain"
    task = small_tasks(world)["dash"]
    _refuses_both(world, task.name, "ds_names", first, tmp_path / "mine" / first.name, several=True)


def test_two_data_sets_of_one_short_name_are_refused_and_a_name_keeps_both(
    world: World, tmp_path: Path
) -> None:
    first = world.data / "problems.jsonl"
    first.write_text(json.dumps({"question": "1 + 1 = ?", "answer": "2"}) + "\n")
    second = tmp_path / "mine" / first.name
    _refuses_both(world, "infer", "datasets", first, second, several=True, made="q_problems.jsonl")


def _refuses_both(
    world: World,
    name: str,
    flag: str,
    first: Path,
    second: Path,
    *,
    several: bool = False,
    made: str | None = None,
) -> None:
    """Run a task with a source, then with another one of the same short name."""
    second.parent.mkdir(parents=True)
    if first.is_dir():
        shutil.copytree(first, second)
        (second / "more.txt").write_text("another one", encoding="utf-8")
        manifest = second / "manifest.json"
        if manifest.is_file():  # one of another run
            manifest.write_text(manifest.read_text().replace('"created": "', '"created": "0'))
    else:
        second.write_text(first.read_text().replace("1 + 1", "2 + 1").replace('"2"', '"3"'))
    task = small_tasks(world)[name]
    flags = task.flags | ({"name": "q"} if made else {})
    task = task._replace(flags=flags, out=made or task.out)

    def given(path: Path) -> dict[str, Any]:
        return {flag: (str(path),) if several else str(path)}

    before = _bytes(world.run(task, **given(first)))
    with pytest.raises(ConfigError) as caught:
        world.run(task, **given(second))
    message = str(caught.value)
    assert "--force" in message and "--name" in message, message
    if flag != "prm":  # a PRM is a setting of the result too
        assert str(first) in message and str(second) in message, message
    world.run(task, **given(second), name="both")
    assert _bytes(world.data / task.out) == before


@pytest.mark.parametrize("how", ["absolute", "above", "link"])
def test_a_manifest_that_names_a_foreign_file_never_deletes_it(
    world: World, tmp_path: Path, how: str
) -> None:
    task = small_tasks(world)["train-linreg"]
    out = world.run(task)
    foreign = tmp_path / "foreign" / "thesis.txt"
    foreign.parent.mkdir()
    foreign.write_text("mine", encoding="utf-8")
    (out / "away").symlink_to(foreign.parent)
    named = {
        "absolute": str(foreign),
        "above": os.path.relpath(foreign, out),
        "link": f"away/{foreign.name}",
    }[how]
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["outputs"][named] = "0" * 64
    (out / "manifest.json").write_text(json.dumps(manifest))
    world.run(task, force=True)
    assert foreign.read_text(encoding="utf-8") == "mine"
