"""Step scores and labels that stand beside solutions made elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from rewardscope.errors import BadRecord
from rewardscope.problems.imports import read_traces
from rewardscope.records import SolvedProblem

ROW: dict[str, Any] = {"question": "Q?", "answer": "4", "steps": ["a", "b", "c"]}


def imported(folder: Path, *rows: dict[str, Any], kind: Any = "plain") -> list[SolvedProblem]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_traces(path, kind, dataset="rows", side="modified", delimiter="\n\n")


def test_scores_of_several_prms_stand_by_name_and_are_nobody_s_own(tmp_path):
    scores = {"P": [0.5, 1, 0], "Q": [-3.5, 0.0, 2.25]}
    (solved,) = imported(tmp_path, ROW | {"scores": scores})
    (trace,) = solved.traces
    assert trace.scores_by == {"P": (0.5, 1.0, 0.0), "Q": (-3.5, 0.0, 2.25)}
    assert trace.scores is None


@pytest.mark.parametrize("scores", [{"P": [0.5, 1, 0]}, [0.5, 1, 0]])
def test_the_scores_of_the_only_prm_are_the_trace_s_own(tmp_path, scores):
    (solved,) = imported(tmp_path, ROW | {"scores": scores})
    assert solved.traces[0].scores == (0.5, 1.0, 0.0)


def test_each_of_several_solutions_of_a_row_has_its_scores_and_labels(tmp_path):
    row = {
        "question": "Q?",
        "solutions": ["a\n\nb", "c"],
        "scores": {"P": [[0.1, 0.2], [0.3]]},
        "labels": [[True, None], [False]],
    }
    (solved,) = imported(tmp_path, row)
    assert [trace.scores for trace in solved.traces] == [(0.1, 0.2), (0.3,)]
    assert [trace.labels for trace in solved.traces] == [(True, None), (False,)]


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"first_error": -1}, (True, True, True)),
        ({"first_error": 1}, (True, False, None)),
        ({"labels": [1, 0, None]}, (True, False, None)),
        ({"labels": [False, True, False]}, (False, True, False)),
        ({}, None),
    ],
)
def test_labels_are_a_list_or_the_position_of_the_first_error(tmp_path, given, labels):
    (solved,) = imported(tmp_path, ROW | given)
    assert solved.traces[0].labels == labels


def test_who_wrote_it_and_where_it_is_from_come_along(tmp_path):
    row = ROW | {"id": "x-7", "model": "org/M", "style": "reasoning", "split": "math"}
    (solved,) = imported(tmp_path, row)
    (trace,) = solved.traces
    found = (trace.item, trace.generator, trace.style, solved.problem.subset)
    assert found == ("x-7", "org/M", "reasoning", "math")


def test_a_row_of_processbench_may_have_scores_and_its_subset_is_in_its_id(tmp_path):
    row = {"id": "gsm8k-3", "problem": "Q?", "steps": ["a", "b"], "label": 0}
    scored = row | {"scores": {"P": [0.1, 0.2]}, "generator": "M"}
    (solved,) = imported(tmp_path, scored, kind="processbench")
    (trace,) = solved.traces
    assert (trace.scores, trace.labels) == ((0.1, 0.2), (False, None))
    assert (trace.item, trace.generator, solved.problem.subset) == ("gsm8k-3", "M", "gsm8k")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"scores": {"P": [0.1, 0.2]}}, "scores of P: 2 for 3 steps"),
        ({"scores": {"P": [0.1, float("nan"), 0]}}, "scores of P: step 2 has nan"),
        ({"scores": {"P": [0.1, 0.2, None]}}, "scores of P: step 3 has None"),
        ({"scores": {"P": [True, 0.2, 0.3]}}, "scores of P: step 1 has True"),
        ({"scores": {"P": [10**400, 0.2, 0.3]}}, "scores of P: step 1 has 1000"),
        ({"scores": {"P": 0.5}}, "scores of P: a list with an entry for each step"),
        ({"scores": {" ": [0.1, 0.2, 0.3]}}, "a name is empty"),
        ({"scores": {"P": [[0.1] * 3, [0.2] * 3]}}, "2 lists for 1 solutions"),
        ({"labels": [True, False]}, "labels: 2 for 3 steps"),
        ({"labels": [1, 0, -1]}, "the label -1 is none of true"),
        ({"labels": ["+", "-", "+"]}, "the label '\\+' is none of true"),
        ({"first_error": 3}, "first_error 3: the position of one of 3 steps"),
        ({"first_error": -2}, "first_error -2"),
        ({"first_error": 1.0}, "first_error 1.0"),
        ({"first_error": 0, "labels": [False, True, True]}, "both labels and first_error"),
    ],
)
def test_what_does_not_fit_is_one_line_with_its_place(tmp_path, given, told):
    with pytest.raises(BadRecord, match=f"line 2: .*{told}") as caught:
        imported(tmp_path, ROW, ROW | given)
    assert "\n" not in str(caught.value)
