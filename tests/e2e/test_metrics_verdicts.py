"""Which verdicts metrics takes: the file's, the graders', the published ones, or none."""

import pytest

from rewardscope.errors import BadRecord
from rewardscope.problems.answers import UNPARSED, Grader
from rewardscope.storage.tables import read_json
from tests.e2e.measured import metrics, solved, values


def test_verdicts_in_the_file_hold_unless_regrade_is_given(tmp_path):
    rows = [solved(0, "5", ["5", "6", "5"], verdicts=[False, None, True])]
    assert values(metrics(tmp_path, rows))["mean_accuracy"] == pytest.approx(1 / 3)
    assert values(metrics(tmp_path, rows, regrade=True, force=True))[
        "mean_accuracy"
    ] == pytest.approx(2 / 3)


def test_an_answer_that_the_file_does_not_hold_is_taken_from_the_text(tmp_path):
    row = solved(0, r"\frac{1}{2}", ["0.5", None])
    row["traces"][0]["answer"] = None
    report = values(metrics(tmp_path, [row]))
    assert (report["accuracy"], report["unanswered"]) == (1, 0.5)


def test_an_answer_that_could_not_be_judged_counts_as_not_right_and_is_reported(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(Grader, "grade", lambda _self, items: [UNPARSED] * len(items))
    report = metrics(tmp_path, [solved(0, "5", ["5", "6"], verdicts=[True, None])])
    assert (values(report)["mean_accuracy"], values(report)["unjudged"]) == (0.5, 0.5)
    assert report["verdicts"]["strict"] == {"right": 1, "wrong": 0, "unparsed": 1}


def test_three_gradings_stand_side_by_side_and_the_stored_verdict_is_the_strict_one(tmp_path):
    rows = [
        solved(0, "3.14159", ["3.14159", "3.1415", "3.13", "2"]),
        solved(1, r"\frac{1}{3}", ["0.33", "0.333333", "0.3", None]),
    ]
    report = metrics(tmp_path, rows)
    assert values(report)["mean_accuracy"] == pytest.approx((1 / 4 + 1 / 4) / 2)
    assert report["gradings"]["rel1e-4"]["mean_accuracy"]["value"] == pytest.approx(
        (2 / 4 + 1 / 4) / 2
    )
    assert report["gradings"]["rel1e-2"]["mean_accuracy"]["value"] == pytest.approx(
        (3 / 4 + 2 / 4) / 2
    )
    # the first traces: 3.14159, and 0.33 for a third
    assert report["gradings"]["rel1e-2"]["accuracy"]["value"] == 1
    assert "mean_steps" not in report["gradings"]["rel1e-2"]
    assert report["verdicts"] == {
        "strict": {"right": 2, "wrong": 5, "unparsed": 1},
        "rel1e-4": {"right": 3, "wrong": 4, "unparsed": 1},
        "rel1e-2": {"right": 5, "wrong": 2, "unparsed": 1},
    }


def test_stored_strict_verdicts_hold_in_strict_grading_and_gaps_are_found_anew(tmp_path):
    report = metrics(
        tmp_path, [solved(0, "100", ["100", "99.5", "7"], verdicts=[False, False, True])]
    )
    assert values(report)["mean_accuracy"] == pytest.approx(1 / 3)
    # the first two are near, the third is right because the file says so
    assert report["verdicts"]["rel1e-2"]["right"] == 3


def test_an_answer_that_is_no_expression_is_counted_apart_from_wrong_ones(tmp_path):
    report = metrics(tmp_path, [solved(0, "5", ["5", "6", r"\frac{1", None])])
    assert report["verdicts"]["strict"] == {"right": 1, "wrong": 1, "unparsed": 2}
    assert (values(report)["unanswered"], values(report)["unjudged"]) == (0.25, 0.25)


def test_published_verdicts_are_compared_and_differences_listed(tmp_path, capsys):
    rows = [solved(0, "5", ["5", "6"]), solved(1, "7", ["7", "7"])]
    for row, published in zip(rows, ([True, False], [True, False]), strict=True):
        for trace, verdict in zip(row["traces"], published, strict=True):
            trace["published"] = verdict
    report = metrics(tmp_path, rows)
    assert report["published"]["traces"] == 4
    assert report["published"]["agreement"]["value"] == pytest.approx(0.75)
    assert report["published"]["different"] == [
        {"problem": "toy/1", "trace": 1, "gold": "7", "answer": "7", "published": False}
    ]
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2].startswith(
        "strict verdicts agree with the published ones on 3 of 4 traces: 0.750"
    )
    assert printed[-1] == "  toy/1 trace 1: gold 7, answer 7, published as wrong"


def test_problems_with_neither_a_gold_answer_nor_a_verdict_are_left_out_and_counted(tmp_path):
    metrics(
        tmp_path,
        [solved(0, "5", ["5"]), solved(1, "", ["7"]), solved(2, "", ["7"], verdicts=[True])],
    )
    manifest = read_json(tmp_path / "toy.metrics.json.manifest.json")
    assert (manifest["rows"], manifest["skipped"]) == (
        2,
        {"problem with neither a gold answer nor a verdict": 1},
    )
    assert read_json(tmp_path / "toy.metrics.json")["chosen_correct"] == {
        "toy/0": True,
        "toy/2": True,
    }


def test_a_file_without_any_gold_answer_or_verdict_cannot_be_measured(tmp_path):
    with pytest.raises(BadRecord, match="nothing to measure"):
        metrics(tmp_path, [solved(0, "", ["7"])])
