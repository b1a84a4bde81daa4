import json
from pathlib import Path
from typing import Any

import pytest

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.problems.imports import Kind, Side, read_traces
from rewardscope.records import SolvedProblem


def imported(
    folder: Path, rows: list[dict], kind: Kind, side: Side = "modified", delimiter: str = "\n\n"
) -> list[SolvedProblem]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_traces(path, kind, dataset="rows", side=side, delimiter=delimiter)


QWEN: dict[str, Any] = {
    "idx": 3,
    "question": "Q?",
    "gt": "4",
    "code": ["a\n\nb \\boxed{4}", "\\boxed{5}"],
    "pred": ["4", "5"],
}
PRMBENCH = {
    "original_question": "Q?",
    "modified_question": "Q, but harder?",
    "original_process": ["a", "b"],
    "modified_process": ["Step 1. a\n\n  ", "c", "d"],
    "error_steps": [2, 3],
    "idx": "prm_test_p1_0",
    "classification": "circular",
}
PROCESSBENCH = {
    "id": "gsm8k-0",
    "problem": "Q?",
    "steps": ["a", "b"],
    "final_answer_correct": False,
    "label": 1,
}


def test_qwen_samples_become_traces_with_their_rewards_and_published_verdicts(tmp_path):
    (solved,) = imported(
        tmp_path, [QWEN | {"score": [True, False], "pred_score": [[3.5], [-1.25]]}], "qwen-eval"
    )
    assert (
        solved.problem.id,
        solved.problem.dataset,
        solved.problem.question,
        solved.problem.answer,
    ) == ("rows/0", "rows", "Q?", "4")
    assert [trace.steps for trace in solved.traces] == [("a", "b \\boxed{4}"), ("\\boxed{5}",)]
    assert [(trace.reward, trace.published) for trace in solved.traces] == [
        (3.5, True),
        (-1.25, False),
    ]
    assert all(
        trace.scores is None and trace.n_tokens is None and trace.finish == "eos"
        for trace in solved.traces
    )


def test_qwen_rows_may_come_without_scores(tmp_path):
    (solved,) = imported(tmp_path, [QWEN], "qwen-eval")
    assert [(trace.reward, trace.published) for trace in solved.traces] == [(None, None)] * 2


def test_prmbench_gives_the_side_that_is_asked_for(tmp_path):
    (modified,) = imported(tmp_path, [PRMBENCH], "prmbench")
    (original,) = imported(tmp_path, [PRMBENCH], "prmbench", side="original")
    assert (modified.problem.question, modified.traces[0].steps) == (
        "Q, but harder?",
        ("Step 1. a", "c", "d"),
    )
    assert (original.problem.question, original.traces[0].steps) == ("Q?", ("a", "b"))
    # after a wrong step nothing is known
    assert (modified.traces[0].published, original.traces[0].published) == (None, True)


def test_a_prmbench_process_without_wrong_steps_has_a_right_answer(tmp_path):
    (solved,) = imported(
        tmp_path, [PRMBENCH | {"error_steps": [], "ground_truth": "29"}], "prmbench"
    )
    assert (solved.problem.answer, solved.traces[0].published) == ("29", True)


def test_processbench_gives_steps_and_the_verdict_on_the_final_answer(tmp_path):
    (solved,) = imported(tmp_path, [PROCESSBENCH], "processbench")
    assert (solved.traces[0].steps, solved.traces[0].published, solved.problem.answer) == (
        ("a", "b"),
        False,
        "",
    )


@pytest.mark.parametrize(
    ("label", "labels"),
    [(-1, (True, True, True)), (0, (False, None, None)), (1, (True, False, None))],
)
def test_steps_after_the_first_wrong_one_of_processbench_are_unknown(tmp_path, label, labels):
    row = PROCESSBENCH | {"steps": ["a", "b", "c"], "label": label}
    (solved,) = imported(tmp_path, [row], "processbench")
    assert solved.traces[0].labels == labels


def test_a_processbench_label_that_is_no_position_is_an_error(tmp_path):
    with pytest.raises(BadRecord, match=r"line 1: .*the label '1' is no position of a step"):
        imported(tmp_path, [PROCESSBENCH | {"label": "1"}], "processbench")


def test_wrong_steps_of_prmbench_are_labelled_and_count_from_one(tmp_path):
    row = PRMBENCH | {"error_steps": [1, 3]}
    (modified,) = imported(tmp_path, [row], "prmbench")
    assert modified.traces[0].labels == (False, True, False)
    (original,) = imported(tmp_path, [row], "prmbench", side="original")
    assert original.traces[0].labels == (True, True)


def test_a_trace_keeps_the_delimiter_that_parted_its_steps(tmp_path):
    rows = [{"problem": "Q?", "solution": "a\nb"}, {"problem": "P?", "steps": ["a", "b"]}]
    parted, given = imported(tmp_path, rows, "plain", delimiter="\n")
    assert (parted.traces[0].delimiter, given.traces[0].delimiter) == ("\n", "\n\n")


def test_solutions_of_one_question_become_traces_of_one_problem(tmp_path):
    rows = [
        PROCESSBENCH,
        PROCESSBENCH | {"problem": "Other?"},
        PROCESSBENCH | {"steps": ["c"], "final_answer_correct": True},
    ]
    first, second = imported(tmp_path, rows, "processbench")
    assert [(t.index, t.problem_id, t.steps, t.published) for t in first.traces] == [
        (0, "rows/0", ("a", "b"), False),
        (1, "rows/0", ("c",), True),
    ]
    assert (second.problem.id, second.problem.question) == ("rows/1", "Other?")


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        ({"problem": "Q?", "solution": "a\n\nb"}, [("a", "b")]),
        ({"question": "Q?", "response": "a"}, [("a",)]),
        ({"question": "Q?", "responses": ["a\n\nb", "c"]}, [("a", "b"), ("c",)]),
        ({"question": "Q?", "steps": ["a", "b\n\nc"]}, [("a", "b\n\nc")]),
    ],
)
def test_plain_rows_may_hold_one_solution_several_or_steps(tmp_path, row, steps):
    (solved,) = imported(tmp_path, [row], "plain")
    assert [trace.steps for trace in solved.traces] == steps
    assert solved.problem.answer == ""


def test_plain_rows_may_bring_a_gold_answer_rewards_verdicts_and_how_they_ended(tmp_path):
    rows = [
        {
            "problem": "Q?",
            "answer": "#### 7",
            "solutions": ["a", "b"],
            "reward": [0.5, 1],
            "correct": [True, None],
            "finish": ["eos", "length"],
        }
    ]
    (solved,) = imported(tmp_path, rows, "plain")
    assert solved.problem.answer == "7"
    assert [(t.reward, t.published, t.finish) for t in solved.traces] == [
        (0.5, True, "eos"),
        (1.0, None, "length"),
    ]


def test_the_delimiter_parts_the_steps(tmp_path):
    (solved,) = imported(tmp_path, [{"problem": "Q?", "solution": "a\nb"}], "plain", delimiter="\n")
    assert solved.traces[0].steps == ("a", "b")


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("qwen-eval", {"question": "Q?", "gt": "4"}, "no list of str under code"),
        ("qwen-eval", QWEN | {"score": [True]}, "1 values under score for 2 solutions"),
        (
            "qwen-eval",
            QWEN | {"pred_score": [[1.0, 2.0], [1.0]]},
            "2 numbers in an entry of pred_score",
        ),
        ("qwen-eval", QWEN | {"pred_score": [["x"], [1.0]]}, "the reward 'x' is no number"),
        (
            "qwen-eval",
            QWEN | {"score": ["yes", "no"]},
            "the verdict 'yes' is neither true nor false",
        ),
        ("prmbench", PROCESSBENCH, "no list of int under error_steps"),
        ("processbench", PRMBENCH, "no text under problem"),
        ("plain", {"problem": "Q?"}, "no solution"),
        (
            "plain",
            {"problem": "Q?", "solutions": ["a", "b"], "reward": 1.0},
            "0 values under reward for 2 solutions",
        ),
        ("plain", {"solution": "a"}, "no text under question or problem"),
    ],
)
def test_a_row_of_another_format_is_an_error_with_its_line(tmp_path, kind, row, message):
    good = {
        "qwen-eval": QWEN,
        "prmbench": PRMBENCH,
        "processbench": PROCESSBENCH,
        "plain": {"problem": "P?", "solution": "a"},
    }[kind]
    with pytest.raises(BadRecord, match=f"line 2: not a row of kind {kind}: .*{message}"):
        imported(tmp_path, [good, row], kind)


def test_two_golds_for_one_question_are_an_error(tmp_path):
    with pytest.raises(BadRecord, match="line 2: gold '5' and '4' for one question"):
        imported(tmp_path, [QWEN, QWEN | {"gt": "5"}], "qwen-eval")


def test_a_file_without_rows_is_an_error(tmp_path):
    with pytest.raises(MissingInput, match="has no rows"):
        imported(tmp_path, [], "plain")
