"""Step scores that came with a file, through every task that runs on them without a model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rewardscope.errors import BadRecord, ConfigError, MissingInput, UnknownName
from rewardscope.settings import Settings
from rewardscope.stages import import_traces, metrics, prm_bench, reward_patterns
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import read_json


def items() -> list[dict[str, Any]]:
    """Return 24 solutions of 12 questions, one of each pair wrong in its second step.

    "good" finds every error and nothing else, "bad" says wrong of the first step of all.
    """
    rows = []
    for number in range(24):
        wrong = number % 2
        rows.append(
            {
                "id": f"toy-{number}",
                "question": f"What is {number // 2} + 1?",
                "answer": str(number // 2 + 1),
                "generator": "first" if number < 12 else "second",
                "style": "terse",
                "subset": "toy",
                "steps": ["a", "b", f"\\boxed{{{number // 2 + 1 + wrong}}}"],
                "first_error": 1 if wrong else -1,
                "scores": {
                    "good": [0.9, 0.2 if wrong else 0.8, 0.3 if wrong else 0.95],
                    "bad": [0.1, 0.6, 0.7],
                },
            }
        )
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def imported(tmp_path: Path, settings: Settings) -> Path:
    source = write(tmp_path / "theirs" / "toy.jsonl", items())
    (out,) = import_traces.run(import_traces.Config(files=(str(source),), kind="plain"), settings)
    return out


def test_prm_bench_reports_on_the_scores_of_each_name(settings, imported):
    for name, errors, correct in (("good", 1, 1), ("bad", 0, 0)):
        config = prm_bench.Config(files=(str(imported),), scores=name)
        out = prm_bench.run(config, settings)
        assert out == settings.data_dir / "prm-bench" / name / "report.json"
        toy = read_json(out)["processbench"]["subsets"]["toy"]
        assert toy["error_accuracy"]["value"] == errors
        assert toy["correct_accuracy"]["value"] == correct
    rows = read_solved(settings.data_dir / "prm-bench" / "good" / "toy.jsonl")
    assert [row.traces[0].scores for row in rows[:2]] == [(0.9, 0.8, 0.95), (0.9, 0.2, 0.3)]
    assert (rows[1].traces[0].generator, rows[1].problem.subset) == ("first", "toy")


def test_benchmark_files_themselves_may_have_the_scores(tmp_path, settings, imported):
    raw = [
        {
            "id": row["id"],
            "problem": row["question"],
            "steps": row["steps"],
            "label": row["first_error"],
            "scores": row["scores"],
            "generator": row["generator"],
        }
        for row in items()
    ]
    source = write(tmp_path / "theirs" / "raw.jsonl", raw)
    reports = [
        read_json(prm_bench.run(prm_bench.Config(files=(str(path),), scores="good"), settings))
        for path in (imported, source)
    ]
    assert reports[0]["processbench"] == reports[1]["processbench"]


def test_labels_of_all_steps_are_measured_as_prmbench_does(tmp_path, settings):
    rows = [{**row, "labels": [True, not number % 2, None]} for number, row in enumerate(items())]
    rows[0]["labels"] = [False, True, True]  # known after a wrong step
    for row in rows:
        del row["first_error"]
    source = write(tmp_path / "theirs" / "all.jsonl", rows)
    (out,) = import_traces.run(import_traces.Config(files=(str(source),), kind="plain"), settings)
    report = read_json(prm_bench.run(prm_bench.Config(files=(str(out),), scores="good"), settings))
    # found right 23 + 12 + 1, wrong found right 1, found wrong 12, right found wrong 0; by hand
    right, wrong = 2 * 36 / (2 * 36 + 1), 2 * 12 / (2 * 12 + 1)
    assert report["prmbench"]["prm_score"]["value"] == pytest.approx((right + wrong) / 2)


def test_votes_and_patterns_take_the_scores_of_the_name(settings, imported):
    best = {}
    for name in ("good", "bad"):
        config = metrics.Config(dataset="toy", scores=name, name=f"toy-{name}")
        best[name] = read_json(metrics.run(config, settings))["metrics"]["best_of@2"]["value"]
    assert best == {"good": 1.0, "bad": 0.5}
    config = reward_patterns.Config(ds_names=("toy",), scores="good", by="generator")
    counts = read_json(reward_patterns.run(config, settings) / "report.json")["counts"]
    assert [(c["policy"], c["right"], c["wrong"]) for c in counts] == [
        ("first, good", 6, 6),
        ("second, good", 6, 6),
    ]


def test_without_a_name_the_choice_is_told(settings, imported, capsys):
    metrics.run(metrics.Config(dataset="toy"), settings)
    assert "has scores of bad, good; name one with --scores" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="has scores of bad, good; name one with --scores"):
        reward_patterns.run(reward_patterns.Config(ds_names=("toy",)), settings)


def test_wrong_names_and_files_without_scores_or_labels_are_one_line(tmp_path, settings, imported):
    with pytest.raises(UnknownName, match="unknown scores 'god'; did you mean 'good'"):
        prm_bench.run(prm_bench.Config(files=(str(imported),), scores="god"), settings)
    with pytest.raises(UnknownName, match="unknown scores 'god'"):
        metrics.run(metrics.Config(dataset="toy", scores="god"), settings)
    with pytest.raises(ConfigError, match=r"--prm P --scores good: .*leave one out"):
        prm_bench.Config(files=("x",), prm="P", scores="good")
    bare = [
        {key: row[key] for key in ("question", "answer", "steps")} | {"id": row["id"]}
        for row in items()
    ]
    source = write(tmp_path / "theirs" / "bare.jsonl", bare)
    (out,) = import_traces.run(import_traces.Config(files=(str(source),), kind="plain"), settings)
    with pytest.raises(MissingInput, match="none of 24 traces has labels"):
        prm_bench.run(prm_bench.Config(files=(str(out),), scores="good"), settings)
    with pytest.raises(MissingInput, match="has no scores by name"):
        metrics.run(metrics.Config(dataset="bare", scores="good"), settings)
    with pytest.raises(UnknownName, match="--by"):
        reward_patterns.Config(ds_names=("toy",), by="colour").check_values()  # pyright: ignore
    with pytest.raises(BadRecord, match=r"--by generator: trace 0 of bare/0 .*has no generator"):
        reward_patterns.run(reward_patterns.Config(ds_names=("bare",), by="generator"), settings)


def test_two_results_on_the_same_file_are_compared(settings, imported):
    against = prm_bench.Config(files=(str(imported),), scores="good", against=("bad",))
    with pytest.raises(MissingInput, match=r"--against bad: .*has no report"):
        prm_bench.run(against, settings)
    prm_bench.run(prm_bench.Config(files=(str(imported),), scores="bad"), settings)
    report = read_json(prm_bench.run(against, settings))
    (beside,) = report["against"]
    assert (beside["other"], beside["solutions"], beside["steps"]) == ("bad", 24, 72)
    # "bad" says wrong of the first step alone, "good" of none but the last two of the wrong half
    assert beside["same_verdict"]["value"] == pytest.approx((72 - 24 - 24) / 72)
    assert beside["f1_difference"]["value"] == 1
    assert beside["first_errors_found"]["this alone"]["value"] == 1
    generators = [e for e in report["steps"]["errors"] if e["by"] == "generator"]
    assert [e["group"] for e in generators] == ["first", "second"]
    assert {e["false_positive"]["value"] for e in generators} == {0}
    assert report["steps"]["first_error"]["auroc"]["value"] == 1


def test_items_without_scores_or_labels_are_counted(tmp_path, settings):
    rows = items()
    del rows[3]["scores"]["good"], rows[5]["first_error"]
    source = write(tmp_path / "theirs" / "toy.jsonl", rows)
    (out,) = import_traces.run(import_traces.Config(files=(str(source),), kind="plain"), settings)
    report = prm_bench.run(prm_bench.Config(files=(str(out),), scores="good"), settings)
    manifest = read_json(report.parent / "toy.jsonl.manifest.json")
    assert (manifest["rows"], manifest["skipped"]) == (
        22,
        {"imported trace without labels of its steps": 1, "item without scores of that name": 1},
    )


def test_no_model_is_loaded(tmp_path, settings, imported):
    code = f"""
import sys
from pathlib import Path
from rewardscope.settings import Settings
from rewardscope.stages import metrics, prm_bench, reward_patterns
settings = Settings(data_dir=Path({str(settings.data_dir)!r}))
prm_bench.run(prm_bench.Config(files=({str(imported)!r},), scores="good"), settings)
metrics.run(metrics.Config(dataset="toy", scores="good"), settings)
reward_patterns.run(reward_patterns.Config(ds_names=("toy",), scores="good"), settings)
assert not {{"torch", "transformers"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=120)
