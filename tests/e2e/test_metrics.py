"""metrics on small generations files made by hand, through the real stage."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.problems.answers import UNPARSED, Grader
from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.settings import Settings
from rewardscope.stages.measures import amount
from rewardscope.stages.metrics import Config, run
from rewardscope.stages.votes import MAX_SUBSETS, Judged, majority, pass_at_k, powers_up_to, subsets
from rewardscope.storage.jsonl import write_rows
from rewardscope.storage.tables import read_json


def solved(
    index: int,
    gold: str,
    answers: Sequence[str | None],
    *,
    scores: Sequence[tuple[float, ...]] | None = None,
    verdicts: Sequence[bool | None] | None = None,
    chosen: int = 0,
) -> dict[str, Any]:
    problem = Problem(id=f"toy/{index}", dataset="toy", question="How many?", answer=gold)
    traces = []
    for i, answer in enumerate(answers):
        end = "I do not know." if answer is None else rf"So \boxed{{{answer}}}."
        steps = (*["Let us see."] * (len(scores[i]) - 1 if scores else 1), end)
        traces.append(
            Trace(
                problem_id=problem.id,
                index=i,
                steps=steps,
                scores=scores[i] if scores else None,
                finish="length" if answer is None else "eos",
                n_tokens=10 * (i + 1),
                answer=answer,
                correct=verdicts[i] if verdicts else None,
            )
        )
    return SolvedProblem(problem=problem, traces=tuple(traces), chosen=chosen).to_dict()


TWO_PROBLEMS = [
    solved(0, "5", ["5", "6", "6", "5.0"], scores=[(0.2,), (0.9,), (0.3,), (0.4,)]),
    solved(1, "7", ["7", "8", "7", None], scores=[(0.5,), (0.9,), (0.6,), (0.1,)], chosen=1),
]


def metrics(folder: Path, rows: list[dict], **flags: Any) -> dict[str, Any]:
    write_rows(folder / "toy.jsonl", rows)
    return read_json(run(Config(dataset="toy", **flags), Settings(data_dir=folder)))


def values(report: dict[str, Any]) -> dict[str, float]:
    return {name: estimate["value"] for name, estimate in report["metrics"].items()}


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
    # Wilson's interval for 1 of 2 is 1/2 -+ z / (2 sqrt(2 + z^2))
    assert report["metrics"]["accuracy"] == pytest.approx(
        {"value": 0.5, "low": 0.0945, "high": 0.9055, "n": 2}, abs=1e-4
    )


@pytest.mark.parametrize(
    ("n", "right", "k"),
    [(1, 0, 1), (1, 1, 1), (5, 0, 2), (5, 1, 1), (5, 1, 2), (5, 3, 2), (5, 3, 5), (8, 2, 4)],
)
def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_trace(n, right, k):
    traces = [True] * right + [False] * (n - right)
    chances = [any(subset) for subset in itertools.combinations(traces, k)]
    assert pass_at_k(n, right, k=k) == pytest.approx(sum(chances) / len(chances))


def test_k_runs_over_the_powers_of_two_and_the_number_of_traces():
    assert [powers_up_to(n) for n in (1, 2, 5, 8)] == [[1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8]]


def test_few_subsets_are_all_taken_and_many_are_drawn_once_each_time_the_same():
    assert subsets(4, 2, seed="0") == list(itertools.combinations(range(4), 2))
    drawn = subsets(32, 16, seed="0")
    assert len(drawn) == MAX_SUBSETS and all(len(set(subset)) == 16 for subset in drawn)
    assert drawn == subsets(32, 16, seed="0") != subsets(32, 16, seed="1")


def test_drawn_subsets_estimate_the_vote_over_all_of_them():
    # 16 answers: 7 right, the others spread out; the vote at 8 by all 12870 subsets against 50
    # drawn ones
    groups = [0] * 7 + [7] * 4 + [11] * 3 + [14] * 2
    judged = Judged(
        correct=[i < 7 for i in range(16)], groups=groups, scores=[None] * 16, weights=[None] * 16
    )

    def count(subset: tuple[int, ...]) -> float:
        votes = Counter(groups[i] for i in subset)
        winners = [group for group, n in votes.items() if n == max(votes.values())]
        return (0 in winners) / len(winners)

    every = [count(subset) for subset in itertools.combinations(range(16), 8)]
    drawn = subsets(16, 8, seed="0")
    assert [majority(judged, subset) for subset in drawn] == pytest.approx(
        [count(subset) for subset in drawn]
    )
    estimate = sum(majority(judged, subset) for subset in drawn) / len(drawn)
    assert estimate == pytest.approx(sum(every) / len(every), abs=3 * 0.5 / len(drawn) ** 0.5)


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
    cells = {
        name: line.split()[len(name.split()) :]
        for name in ("accuracy", "traces right", "traces wrong")
        for line in lines
        if line.startswith(name)
    }
    assert cells["accuracy"] == [
        "0.500",
        "0.095",
        "0.905",
        "2",
        "0.500",
        "0.095",
        "0.905",
        "0.500",
        "0.095",
        "0.905",
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
    # shares have Wilson's interval, which draws nothing
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
