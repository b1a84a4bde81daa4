"""The metrics on an example worked by hand, and on stored scores whose metrics the published
procedure gave.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.problems.prm_benchmark_metrics import (
    first_wrong,
    prm_score,
    prmbench_counts,
    processbench_counts,
    processbench_f1,
)
from rewardscope.problems.prm_benchmark_report import report
from rewardscope.problems.prm_benchmarks import LabelledSolution, read_benchmark, without_number

DATA = Path(__file__).parents[3] / "../shared/data"
PRMBENCH = {
    "modified_question": "Q?",
    "modified_process": ["1. a", "Step 2. b", "c"],
    "error_steps": [2, 3],
    "idx": "p_0",
    "classification": "circular",
}
PROCESSBENCH = {
    "id": "gsm8k-7",
    "problem": "Q?",
    "steps": ["a", "b"],
    "label": 1,
    "final_answer_correct": False,
}


def processbench(label: int, *, subset: str = "gsm8k", question: str = "Q?") -> LabelledSolution:
    return LabelledSolution(
        f"{subset}-0",
        "processbench",
        subset,
        question,
        ("a", "b", "c"),
        () if label == -1 else (label,),
    )


def prmbench(
    wrong: tuple[int, ...], n: int, *, category: str = "circular", question: str = "Q?"
) -> LabelledSolution:
    return LabelledSolution("x", "prmbench", category, question, tuple("abcdefgh"[:n]), wrong)


def stored() -> list[tuple[LabelledSolution, list[float]]]:
    rows = [
        json.loads(line)
        for line in (
            Path(__file__)
            .with_name("prm_benchmark_scores.jsonl")
            .read_text(encoding="utf-8")
            .splitlines()
        )
    ]
    return [
        (
            LabelledSolution(
                str(n),
                row["benchmark"],
                row["category"],
                row["question"],
                ("s",) * len(row["scores"]),
                tuple(row["wrong"]),
            ),
            row["scores"],
        )
        for n, row in enumerate(rows)
    ]


def read(folder: Path, rows: list[dict[str, Any]]):
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_benchmark(path)


def test_processbench_f1_on_an_example_by_hand():
    solutions = [
        (processbench(1), (0.9, 0.2, 0.9)),  # first error found
        (processbench(1), (0.2, 0.2, 0.9)),  # found too early
        (processbench(2), (0.9, 0.9, 0.9)),  # missed
        # found: a right step scores above the threshold, not at it
        (processbench(0), (0.5, 0.9, 0.1)),
        (processbench(-1), (0.9, 0.6, 0.51)),  # rightly without an error
        (processbench(-1), (0.9, 0.4, 0.9)),
        (processbench(-1), (0.8, 0.8, 0.8)),
    ]
    counts = sum(
        (processbench_counts(item, scores, 0.5) for item, scores in solutions), np.zeros(4)
    )
    assert counts.tolist() == [4, 2, 3, 2]
    assert (
        processbench_f1(counts) == 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3) == pytest.approx(4 / 7)
    )


def test_processbench_f1_at_its_edges():
    assert processbench_f1(np.array([3, 0, 2, 0])) == 0
    assert processbench_f1(np.array([3, 3, 2, 0])) == 0
    assert processbench_f1(np.array([3, 3, 2, 2])) == 1
    assert math.isnan(processbench_f1(np.array([0, 0, 2, 2])))


def test_prm_score_on_an_example_by_hand():
    counts = prmbench_counts(prmbench((1, 2), 5), (0.9, 0.2, 0.7, 0.4, 0.8), 0.5)
    # right found right, wrong found right, wrong found wrong, right found wrong
    assert counts.tolist() == [2, 1, 1, 1]
    # right steps: precision 2/3, recall 2/3; wrong ones: precision 1/2, recall 1/2
    assert prm_score(counts, category=None) == pytest.approx(0.5 * 2 / 3 + 0.5 * 1 / 2)
    assert prm_score(counts, category="circular") == prm_score(counts, category=None)


def test_solutions_without_wrong_steps_are_scored_by_the_f1_of_right_steps():
    counts = prmbench_counts(prmbench((), 4, category="multi_solutions"), (0.9, 0.9, 0.1, 0.9), 0.5)
    assert prm_score(counts, category="multi_solutions") == pytest.approx(2 * 3 / (2 * 3 + 1))
    assert prm_score(np.array([4, 0, 0, 0]), category="multi_solutions") == 1
    # there is no wrong step to find
    assert math.isnan(prm_score(np.array([4, 0, 0, 0]), category=None))


def test_a_wrong_step_beyond_the_last_counts_for_nothing():
    assert prmbench_counts(prmbench((1, 5), 3), (0.9, 0.1, 0.9), 0.5).tolist() == [2, 0, 1, 0]


def test_the_metrics_of_stored_scores_are_those_of_the_published_procedure():
    found = report(stored(), threshold=0.5, seed=0)
    # (true right, false right, true wrong, false wrong) are (37, 5, 9, 23), (9, 3, 6, 4), (13, 2,
    # 3, 10), (15, 0, 0, 9)
    assert found["prmbench"]["prm_score"].value == pytest.approx(0.5583972719522592, abs=1e-15)
    assert {
        name: estimate.value for name, estimate in found["prmbench"]["categories"].items()
    } == pytest.approx(
        {
            "circular": 0.6757894736842105,
            "confidence": 0.5087719298245614,
            "multi_solutions": 0.7692307692307693,
        },
        abs=1e-15,
    )
    gsm8k, math_subset = (found["processbench"]["subsets"][name] for name in ("gsm8k", "math"))
    assert (
        gsm8k["error_accuracy"].value,
        gsm8k["error_accuracy"].n,
        gsm8k["correct_accuracy"].value,
    ) == (0.8, 5, 0.75)
    assert gsm8k["f1"].value == pytest.approx(0.7741935483870968, abs=1e-15)
    assert math_subset["f1"].value == pytest.approx(0.923076923076923, abs=1e-15)
    assert found["processbench"]["average_f1"].value == pytest.approx(
        (0.7741935483870968 + 0.923076923076923) / 2, abs=1e-15
    )
    score = found["prmbench"]["prm_score"]
    for few in (score, gsm8k["f1"]):
        assert few.n < 10 and few.low is None  # too few for an interval


def test_the_prm_score_is_the_mean_of_two_f1_of_sklearn():
    mine = [(item, scores) for item, scores in stored() if item.benchmark == "prmbench"]
    labels = [
        position not in item.wrong for item, scores in mine for position in range(len(scores))
    ]
    for threshold in (0.3, 0.5, 0.7):
        predicted = [score > threshold for _, scores in mine for score in scores]
        expected = (f1_score(labels, predicted) + f1_score(labels, predicted, pos_label=False)) / 2
        assert report(mine, threshold=threshold, seed=0)["prmbench"][
            "prm_score"
        ].value == pytest.approx(expected)


def test_dimensions_are_means_of_their_categories_and_need_all_of_them():
    def of(category: str, scores: tuple[float, ...]) -> tuple[LabelledSolution, tuple[float, ...]]:
        return prmbench((1,), 3, category=category), scores

    circular, redundant = of("circular", (0.9, 0.1, 0.9)), of("redundency", (0.9, 0.9, 0.9))
    assert report([circular], threshold=0.5, seed=0)["prmbench"]["dimensions"] == {}
    found = report([circular, redundant], threshold=0.5, seed=0)["prmbench"]
    # 4 right found right, 2 of 3 again
    assert found["dimensions"]["simplicity"].value == pytest.approx((1 + 0.5 * 0.8 + 0) / 2)


def test_intervals_count_questions_and_not_solutions():
    solutions = [(processbench(1, question=f"Q{i % 3}"), (0.9, 0.2, 0.9)) for i in range(12)] + [
        (processbench(-1), (0.9, 0.9, 0.9))
    ]
    found = report(solutions, threshold=0.5, seed=0)["processbench"]["subsets"]["gsm8k"]
    assert (found["f1"].n, found["error_accuracy"].n) == (4, 12)


def test_what_cannot_be_measured_is_none():
    found = report([(processbench(1), (0.9, 0.2, 0.9))], threshold=0.5, seed=0)
    assert found["processbench"]["subsets"]["gsm8k"]["f1"] is None
    assert found["processbench"]["subsets"]["gsm8k"]["correct_accuracy"] is None
    assert list(found) == ["processbench"]


def test_the_threshold_decides_and_no_step_is_minus_one():
    assert [first_wrong((0.9, 0.4, 0.1), threshold) for threshold in (0.5, 0.2, 0.05)] == [1, 2, -1]
    assert first_wrong((0.3, -0.2), 0.0) == 1


@pytest.mark.parametrize(
    ("step", "bare"),
    [
        ("1. So", "So"),
        ("Step 12. So", "So"),
        ("step 3.So", "So"),
        (" 4.  So\n\n  ", "So"),
        ("So 1. and 2.", "So 1. and 2."),
        ("57.0 is", "57.0 is"),
        ("12 apples", "12 apples"),
        ("1. 2. So", "2. So"),
    ],
)
def test_a_step_loses_the_number_it_begins_with_and_nothing_else(step, bare):
    assert without_number(step) == bare


def test_rows_of_both_benchmarks_are_told_apart_by_their_fields(tmp_path):
    items = read(
        tmp_path, [PRMBENCH, PROCESSBENCH, PROCESSBENCH | {"id": "omni-math-3", "label": -1}]
    ).solutions
    assert items[0] == LabelledSolution(
        "circular_p_0", "prmbench", "circular", "Q?", ("a", "b", "c"), (1, 2)
    )
    assert items[1] == LabelledSolution("gsm8k-7", "processbench", "gsm8k", "Q?", ("a", "b"), (1,))
    assert (items[2].category, items[2].wrong) == ("omni-math", ())


def test_repeated_items_and_labels_beyond_the_last_step_are_named(tmp_path):
    read_items = read(
        tmp_path,
        [
            PRMBENCH,
            PRMBENCH | {"modified_process": ["z"]},
            PRMBENCH | {"idx": "p_1", "error_steps": [4]},
        ],
    )
    assert [item.steps for item in read_items.solutions] == [
        ("a", "b", "c")
    ] * 2  # the first counts
    assert (read_items.repeated, read_items.beyond) == (["circular_p_0"], ["circular_p_1"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "Q?", "solution": "a"}, "not a row of ProcessBench"),
        (PROCESSBENCH | {"steps": []}, "item gsm8k-7: 0 steps"),
        (PROCESSBENCH | {"steps": "a"}, "no list of texts"),
        (PROCESSBENCH | {"label": "1"}, "no list of whole numbers"),
        (PRMBENCH | {"error_steps": [0]}, "wrong ones at"),
    ],
)
def test_a_row_of_neither_benchmark_is_an_error_with_its_line(tmp_path, row, message):
    with pytest.raises(BadRecord, match=f"line 2: .*{message}"):
        read(tmp_path, [PRMBENCH, row])


def test_an_empty_file_is_an_error(tmp_path):
    with pytest.raises(MissingInput, match="has no rows"):
        read(tmp_path, [])


@pytest.mark.parametrize(
    ("name", "items", "wrong", "repeated", "beyond"),
    [
        # the numbers of solutions that are published with it
        ("processbench_gsm8k", 400, 207, 0, 0),
        ("prmbench_circular_p1", 90, 90, 0, 1),
        ("prmbench_confidence_p1", 90, 90, 0, 7),
        ("prmbench_multi_solutions", 160, 0, 5, 0),
    ],
)
def test_published_files_are_read_whole(name, items, wrong, repeated, beyond):
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not here: it is published data, not part of the project")
    found = read_benchmark(path)
    assert (len(found.solutions), sum(bool(item.wrong) for item in found.solutions)) == (
        items,
        wrong,
    )
    assert (len(found.repeated), len(found.beyond)) == (repeated, beyond)
