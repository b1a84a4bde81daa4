"""What save-acts refuses, and what it skips, before the weights are read."""

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.records import Problem, SolvedProblem
from rewardscope.settings import Settings
from rewardscope.stages.save_acts import Config, run
from rewardscope.storage.jsonl import write_rows
from tests.e2e.acts_runs import LAYERS, save, trace, write_generations
from tests.unit.prms.tiny_prm import make_prm


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm"), layers=LAYERS))


def test_the_disk_need_is_said_and_refused_before_the_weights_are_read(
    tmp_path: Path, prm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_generations(tmp_path / "toy.jsonl")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    # to load the PRM would fail
    monkeypatch.setattr("rewardscope.prms.scorer.HfScorer.__init__", None)
    with pytest.raises(
        ConfigError,
        match=r"math-rm-toy needs 0\.\d MB and 0\.0 MB are free; make room, or pass fewer --layers",
    ):
        save(path, prm)
    assert "rows to capture need" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"ds_name": "absent"}, r"absent is not there; make it with invoke infer"),
        ({"layers": "0-27"}, r"--layers 0-27: layer 27 is out of range; the model has layers 0-2"),
        ({"prm": "no/where/prm"}, r"no/where/prm"),
        ({"ds_name": "."}, r"is a folder; name a generations file"),
    ],
)
def test_what_cannot_work_ends_in_one_line_before_the_weights_are_read(
    tmp_path: Path, prm: str, monkeypatch: pytest.MonkeyPatch, flags: dict, message: str
) -> None:
    write_generations(tmp_path / "toy.jsonl", n=2)
    monkeypatch.setattr("rewardscope.prms.scorer.HfScorer.__init__", None)
    with pytest.raises((ConfigError, MissingInput), match=message) as caught:
        run(
            Config(**{"ds_name": "toy", "prm": prm, "device": "cpu"} | flags),
            Settings(data_dir=tmp_path),
        )
    assert "\n" not in str(caught.value)


def test_a_file_whose_traces_are_all_skipped_says_so(tmp_path: Path, prm: str) -> None:
    problem = Problem(id="toy/0", dataset="toy", question="How many?", answer="4")
    solved = SolvedProblem(problem=problem, traces=(trace("toy/0", 0, []),), chosen=0)
    write_rows(tmp_path / "toy.jsonl", [solved.to_dict()])
    with pytest.raises(MissingInput, match=r"none of the 1 traces \(1 without steps\)"):
        save(tmp_path / "toy.jsonl", prm)


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"layers": "a"},
        {"batch_tokens": 0},
        {"batch_tokens": 20_000},
        {"sample": 0},
        {"prm_window": 0},
        {"mode": "lm"},
        {"model_name": "x"},
        {"part": 3, "total": 2},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=r"^--"):
        Config(ds_name="x", **wrong)


def test_a_second_run_skips_without_torch(tmp_path: Path, prm: str) -> None:
    path = write_generations(tmp_path / "toy.jsonl", n=2)
    store = save(path, prm)
    made = json.loads((store.folder / "manifest.json").read_text())["created"]
    code = f"""
import sys
from pathlib import Path
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages.save_acts import Config, run
config = Config(ds_name={str(path)!r}, prm={prm!r}, device="cpu")
run(config, Settings(data_dir=Path({str(tmp_path)!r})))
assert "torch" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert json.loads((store.folder / "manifest.json").read_text())["created"] == made
