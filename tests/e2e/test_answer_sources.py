"""`--extract`: where answers are taken from, what the metrics say of it, and gold answers that
cannot be read.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from rewardscope.settings import Settings
from rewardscope.stages import import_traces, metrics
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import read_json

SOLUTIONS = (
    r"2 + 3 = 5. So $\boxed{5}$.",
    "2 + 3 = 5.\n\nThe answer is 5.",
    "2 + 3 = 5.\n\n**Answer:** Tom has 5 apples.",
    "2 + 3 = 5.\n\nTherefore, Tom has 5 apples after 2 days.",
    "Tom has 2 apples and 3 more, that makes 5",
    "I do not know.",
)


def imported(folder: Path, *, gold: str = "5", **flags: Any) -> Path:
    row = {"problem": "How many?", "answer": gold, "solution": list(SOLUTIONS)}
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "toy.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    config = import_traces.Config(files=(str(folder / "in/toy.jsonl"),), kind="plain", **flags)
    (out,) = import_traces.run(config, Settings(data_dir=folder))
    return out


def measured(folder: Path, **flags: Any) -> dict[str, Any]:
    return read_json(metrics.run(metrics.Config(dataset="toy", **flags), Settings(data_dir=folder)))


@pytest.mark.parametrize(
    ("rule", "right", "sources"),
    [
        ("boxed", 1, {"boxed": 1, "nowhere": 5}),
        ("stated", 4, {"boxed": 1, "stated": 3, "nowhere": 2}),
        ("last-number", 5, {"boxed": 1, "stated": 3, "last-number": 1, "nowhere": 1}),
    ],
)
def test_each_rule_goes_on_where_the_one_before_it_finds_nothing(tmp_path, rule, right, sources):
    (row,) = read_solved(imported(tmp_path, extract=rule))
    assert [trace.correct for trace in row.traces].count(True) == right
    assert measured(tmp_path)["answers"] == sources  # the rule is that of the file
    imported(tmp_path, force=True)
    report = measured(tmp_path, extract=rule, force=True)
    assert report["answers"] == sources
    assert report["metrics"]["mean_accuracy"]["value"] == pytest.approx(right / 6)


def test_a_table_warns_where_more_than_a_tenth_of_the_answers_come_from_nowhere(tmp_path, capsys):
    imported(tmp_path)
    measured(tmp_path)
    told = capsys.readouterr().out
    assert "answers taken from: boxed 1, stated 3, nowhere 2" in told
    assert "warning: 2 of 6 traces give no answer" in told


def test_a_gold_answer_that_cannot_be_read_is_named(tmp_path, capsys):
    imported(tmp_path, gold=r"\frac{5}{")
    assert measured(tmp_path)["unread_golds"] == ["toy/0"]
    told = capsys.readouterr()
    assert "1 gold answers cannot be read" in told.err
    assert "warning: the gold answers of 1 problems cannot be read" in told.out
