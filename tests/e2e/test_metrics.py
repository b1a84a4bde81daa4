"""metrics on small generations files made by hand, through the real stage."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.problems.answers import Grader
from rewardscope.settings import Settings
from rewardscope.stages.measures import amount
from rewardscope.stages.metrics import Config, run
from rewardscope.storage.tables import read_json
from tests.e2e.measured import metrics, solved, values

TWO_PROBLEMS = [
    solved(0, "5", ["5", "6", "6", "5.0"], scores=[(0.2,), (0.9,), (0.3,), (0.4,)]),
    solved(1, "7", ["7", "8", "7", None], scores=[(0.5,), (0.9,), (0.6,), (0.1,)], chosen=1),
]


def test_every_metric_of_a_file_made_by_hand(tmp_path):
    report = metrics(tmp_path, TWO_PROBLEMS)
    expected = {
        "accuracy": 1 / 2,  # the first problem's chosen trace is right, the second's is not
        "mean_accuracy": 2 / 4,
        "unanswered": 1 / 8,
        "unjudged": 0,
        "truncated": 1 / 8,
        "mean_tokens": 25,
        "mean_steps": 1,
        "pass@1": 1 / 2,
        "pass@2": 5 / 6,
        "pass@4": 1,
        # 5 and 6 tie in the first problem, 7 wins in the second
        "majority@4": (1 / 2 + 1) / 2,
        # pairs: (5,6) and (6,5.0) tie, 4 of 6, one pair is right, one wrong; then (7,8) and (8,7)
        # tie, 3 pairs are right, one wrong
        "majority@2": ((1 + 4 / 2) / 6 + (3 + 2 / 2) / 6) / 2,
        "majority@1": 1 / 2,
        # 0.6 for 5 and 1.2 for 6; 1.1 for 7 and 0.9 for 8
        "weighted@4": 1 / 2,
        "weighted@1": 1 / 2,
        # pairs: 5 and 5.0 alone beat 6; in the second problem 7 wins wherever 8 is not in the pair
        "weighted@2": (2 / 6 + 3 / 6) / 2,
        "best_of@4": 0,
        "best_of@2": (2 / 6 + 3 / 6) / 2,
        "best_of@1": 1 / 2,
    }
    assert values(report) == pytest.approx(expected)
    assert (report["problems"], report["traces_per_problem"], report["aggregation"]) == (
        2,
        [4, 4],
        "last",
    )
    assert report["chosen_correct"] == {"toy/0": True, "toy/1": False}
    # Jeffreys' interval for 1 of 2 (wider than Wilson's): quantiles of Beta(3/2, 3/2)
    assert report["metrics"]["accuracy"] == pytest.approx(
        {"value": 0.5, "low": 0.0608, "high": 0.9392, "n": 2}, abs=1e-4
    )


def test_the_order_of_the_traces_changes_no_number(tmp_path):
    backwards = [
        solved(0, "5", ["5.0", "6", "6", "5"], scores=[(0.4,), (0.3,), (0.9,), (0.2,)], chosen=3),
        solved(1, "7", [None, "7", "8", "7"], scores=[(0.1,), (0.6,), (0.9,), (0.5,)], chosen=2),
    ]
    for name in ("there", "back"):
        (tmp_path / name).mkdir()
    assert values(metrics(tmp_path / "there", TWO_PROBLEMS)) == pytest.approx(
        values(metrics(tmp_path / "back", backwards))
    )


@pytest.mark.parametrize(
    ("aggregation", "winner"), [("last", "1"), ("min", "2"), ("prod", "2"), ("mean", "3")]
)
def test_the_aggregation_decides_which_trace_is_best(tmp_path, aggregation, winner):
    # last .95 .7 .9; min .1 .7 .3; prod .0095 .343 .27; mean .38 .7 .73
    scores = [(0.1, 0.1, 0.95), (0.7, 0.7, 0.7), (1.0, 0.3, 0.9)]
    report = metrics(
        tmp_path, [solved(0, winner, ["1", "2", "3"], scores=scores)], aggregation=aggregation
    )
    assert report["aggregation"] == aggregation
    assert values(report)["best_of@3"] == values(report)["weighted@3"] == 1


def test_without_scores_there_is_no_weighted_vote_and_no_best_of(tmp_path):
    report = metrics(tmp_path, [solved(0, "5", ["5", "6"])])
    assert report["aggregation"] is None
    assert {name.split("@")[0] for name in report["metrics"] if "@" in name} == {"pass", "majority"}


def test_k_goes_up_to_the_smallest_number_of_traces_and_every_trace_counts(tmp_path):
    report = metrics(
        tmp_path, [solved(0, "5", ["5", "6", "6"]), solved(1, "7", ["7", "8", "8", "8", "8", "7"])]
    )
    assert report["traces_per_problem"] == [3, 6]
    assert [name for name in report["metrics"] if name.startswith("pass")] == [
        "pass@1",
        "pass@2",
        "pass@3",
    ]
    # pairs with a right trace: 2 of 3, 9 of 15
    assert values(report)["pass@2"] == pytest.approx((2 / 3 + 9 / 15) / 2)


def test_a_second_run_prints_the_same_table_and_grades_nothing(tmp_path, capsys, monkeypatch):
    metrics(tmp_path, TWO_PROBLEMS)
    first = capsys.readouterr().out
    monkeypatch.setattr(Grader, "__init__", lambda _self: pytest.fail("graded again"))
    run(Config(dataset="toy.jsonl"), Settings(data_dir=tmp_path))
    assert capsys.readouterr().out == first
    lines = first.splitlines()
    assert lines[0].endswith(
        "toy.metrics.json: 2 problems, 4 traces each, scores aggregated by last"
    )
    assert "accuracy takes the chosen one, mean_accuracy all" in first
    cells = {
        name: line.split()[len(name.split()) :]
        for name in ("accuracy", "traces right", "traces wrong")
        for line in lines
        if line.startswith(name)
    }
    assert cells["accuracy"] == [
        "0.500",
        "0.061",
        "0.939",
        "2",
        "0.500",
        "0.061",
        "0.939",
        "0.500",
        "0.061",
        "0.939",
    ]
    assert (cells["traces right"], cells["traces wrong"]) == (["4"] * 3, ["3"] * 3)


def test_other_settings_need_force(tmp_path):
    metrics(tmp_path, TWO_PROBLEMS)
    with pytest.raises(ConfigError, match=r"aggregation 'last' -> 'min'.*--force"):
        run(Config(dataset="toy", aggregation="min"), Settings(data_dir=tmp_path))
    run(Config(dataset="toy", aggregation="min", force=True), Settings(data_dir=tmp_path))
    assert read_json(tmp_path / "toy.metrics.json")["aggregation"] == "min"


def test_the_seed_moves_the_bootstrap_and_nothing_else(tmp_path):
    rows = [solved(i, "5", ["5"] * (i % 4) + ["6"] * (4 - i % 4)) for i in range(12)]
    first, second = metrics(tmp_path, rows), metrics(tmp_path, rows, seed=1, force=True)
    assert values(first) == values(second)
    # shares have intervals that draw nothing
    assert first["metrics"]["mean_accuracy"] == second["metrics"]["mean_accuracy"]
    assert first["metrics"]["accuracy"] == second["metrics"]["accuracy"]
    skewed = [(i / 10) ** 3 for i in range(40)]
    assert amount(skewed, seed=0) != amount(skewed, seed=1)


def test_an_input_that_is_not_there_names_the_task_that_makes_it(tmp_path):
    with pytest.raises(MissingInput, match="nothing is not there; make it with invoke infer"):
        run(Config(dataset="nothing"), Settings(data_dir=tmp_path))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        run(Config(dataset="folder"), Settings(data_dir=tmp_path))


def test_the_manifest_counts_the_problems_and_the_result_has_no_nan(tmp_path):
    metrics(tmp_path, TWO_PROBLEMS)
    manifest = json.loads((tmp_path / "toy.metrics.json.manifest.json").read_text(encoding="utf-8"))
    assert (manifest["stage"], manifest["rows"], list(manifest["outputs"])) == (
        "metrics",
        2,
        ["toy.metrics.json"],
    )
    assert "NaN" not in (tmp_path / "toy.metrics.json").read_text(encoding="utf-8")


def with_rewards(row: dict[str, Any], rewards: Sequence[float]) -> dict[str, Any]:
    for trace, reward in zip(row["traces"], rewards, strict=True):
        trace.update(reward=reward, n_tokens=None)
    return row


def test_rewards_of_whole_solutions_weigh_votes_by_the_logistic_function_and_rank_as_they_are(
    tmp_path,
):
    # 7 has the best reward; 5 has two lesser ones, of which each weighs 1/2: log 3 is the log-odds
    # of 3/4
    report = metrics(
        tmp_path,
        [with_rewards(solved(0, "5", ["7", "5", "5", "6"]), [math.log(3), 0.0, 0.0, -2.0])],
    )
    assert report["aggregation"] == "reward"
    # 0.75 against 1; by sums of rewards 7 would win
    assert (values(report)["best_of@4"], values(report)["weighted@4"]) == (0, 1)
    assert values(report)["best_of@2"] == pytest.approx((0 + 0 + 0 + 1 + 1 + 1) / 6)
    assert "mean_tokens" not in values(report)


def test_rewards_within_0_and_1_weigh_votes_as_they_are(tmp_path):
    report = metrics(tmp_path, [with_rewards(solved(0, "5", ["5", "6", "6"]), [0.9, 0.4, 0.4])])
    assert values(report)["weighted@3"] == 1  # by the logistic function 6 would win


def test_very_large_rewards_still_tell_the_best_trace(tmp_path):
    report = metrics(tmp_path, [with_rewards(solved(0, "5", ["6", "5"]), [60.0, 61.0])])
    assert values(report)["best_of@2"] == 1
