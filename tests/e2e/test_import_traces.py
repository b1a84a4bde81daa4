"""import-traces, then what it is for: metrics and save-acts."""

import json
import math
from pathlib import Path

import pytest

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.settings import Settings
from rewardscope.stages import metrics
from rewardscope.stages.import_traces import Config, run
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import read_json

PUBLISHED = Path(__file__).parents[2] / "../shared/data/qwen_math_cot_50x8.jsonl"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = [
        {
            "problem": "What is 2+3?",
            "answer": "5",
            "solutions": ["It is\n\n\\boxed{5}", "\\boxed{6}"],
            "reward": [0.2, 0.9],
            "correct": [True, True],
        },
        {"problem": "What is 3+4?", "solution": "\\boxed{8}", "correct": False},
    ]
    path = tmp_path / "theirs" / "runs.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_imported_traces_are_graded_and_the_published_verdict_stays_beside_ours(tmp_path, source):
    (out,) = run(Config(files=(str(source),), kind="plain"), Settings(data_dir=tmp_path / "data"))
    assert out == tmp_path / "data" / "runs.jsonl"
    first, second = read_solved(out)
    assert [(t.answer, t.correct, t.published) for t in first.traces] == [
        ("5", True, True),
        ("6", False, True),
    ]
    # no gold answer: the file's verdict holds
    assert [(t.answer, t.correct) for t in second.traces] == [("8", False)]
    manifest = read_json(out.with_name("runs.jsonl.manifest.json"))
    assert (manifest["rows"], manifest["extra"]) == (2, {"kind": "plain", "traces": 3})


def test_metrics_read_what_was_imported(tmp_path, source):
    settings = Settings(data_dir=tmp_path / "data")
    run(Config(files=(str(source),), kind="plain"), settings)
    report = read_json(metrics.run(metrics.Config(dataset="runs"), settings))
    assert report["aggregation"] == "reward"
    assert report["metrics"]["mean_accuracy"]["value"] == pytest.approx((1 / 2 + 0) / 2)
    assert [(d["problem"], d["trace"]) for d in report["published"]["different"]] == [("runs/0", 1)]


def test_importing_again_is_skipped_and_a_changed_file_is_read_again(tmp_path, source, capsys):
    config, settings = (
        Config(files=(str(source),), kind="plain"),
        Settings(data_dir=tmp_path / "data"),
    )
    run(config, settings)
    run(config, settings)
    assert "skipped" in capsys.readouterr().err
    source.write_text(source.read_text(encoding="utf-8").replace("8}", "7}"), encoding="utf-8")
    (out,) = run(config, settings)
    assert read_solved(out)[1].traces[0].answer == "7"


def test_a_file_is_never_replaced_by_its_own_import(tmp_path, source):
    with pytest.raises(ConfigError, match="lies where its result would be written"):
        run(Config(files=(str(source),), kind="plain"), Settings(data_dir=source.parent))
    with pytest.raises(ConfigError, match="same short name"):
        run(
            Config(files=(str(source), str(source)), kind="plain"),
            Settings(data_dir=tmp_path / "data"),
        )
    with pytest.raises(MissingInput, match="no such file"):
        run(Config(files=("nothing.jsonl",), kind="plain"), Settings(data_dir=tmp_path / "data"))
    with pytest.raises(ConfigError, match="only prmbench has two sides"):
        Config(files=(str(source),), kind="plain", side="original")


@pytest.mark.skipif(
    not PUBLISHED.exists(),
    reason="the published solutions are not here: they are no part of the project",
)
def test_published_solutions_with_a_reward_give_the_accuracies_that_their_own_verdicts_give(
    tmp_path,
):
    settings = Settings(data_dir=tmp_path)
    run(Config(files=(str(PUBLISHED),), kind="qwen-eval"), settings)
    report = read_json(metrics.run(metrics.Config(dataset=PUBLISHED.stem), settings))
    assert (report["published"]["traces"], report["published"]["different"]) == (400, [])
    best, weighted = [], []
    for row in (json.loads(line) for line in PUBLISHED.read_text(encoding="utf-8").splitlines()):
        rewards = [reward for (reward,) in row["pred_score"]]
        best.append(row["score"][rewards.index(max(rewards))])
        votes: dict[str, float] = {}
        for answer, reward in zip(row["pred"], rewards, strict=True):
            votes[answer] = votes.get(answer, 0) + 1 / (1 + math.exp(-reward))
        weighted.append(
            row["score"][row["pred"].index(max(votes, key=lambda answer: votes[answer]))]
        )
    found = report["metrics"]
    assert found["best_of@8"]["value"] == pytest.approx(sum(best) / 50)
    assert found["weighted@8"]["value"] == pytest.approx(sum(weighted) / 50)
    assert found["mean_accuracy"]["value"] == pytest.approx(375 / 400)
    assert found["best_of@8"]["low"] < found["best_of@8"]["value"] < found["best_of@8"]["high"]
