"""Where a PRM errs, on solutions whose scores and labels are laid out by hand."""

import math

import numpy as np
import pytest

from rewardscope.probes.prm_agreement import Scored, agreement
from rewardscope.probes.step_errors import along, errors, first_error, step_report, steps_of
from rewardscope.problems.prm_benchmarks import LabelledSolution


def solution(
    number: int, scores: tuple[float, ...], wrong: int | None, *, generator: str = "g"
) -> tuple[LabelledSolution, tuple[float, ...]]:
    """Return a solution of a question of its own, with steps of 10, 20, 30 ... characters."""
    steps = tuple("x" * 10 * (place + 1) for place in range(len(scores)))
    labelled = LabelledSolution(
        f"toy-{number}",
        "processbench",
        "toy",
        f"Q{number}?",
        steps,
        () if wrong is None else (wrong,),
        generator=generator,
    )
    return labelled, scores


SCORED = [
    solution(0, (0.9, 0.2, 0.8), None),  # its second step is a false positive
    solution(1, (0.9, 0.8, 0.7), None),
    solution(2, (0.9, 0.1, 0.3), 1, generator="h"),  # found; its last step is unknown
    solution(3, (0.6, 0.7, 0.9), 1, generator="h"),  # missed: a false negative
]


def rates(found: list[dict], by: str) -> list[tuple]:
    def value(estimate):
        return None if estimate is None else estimate.value

    return [
        (e["right"], e["wrong"], value(e["false_positive"]), value(e["false_negative"]))
        for e in found
        if e["by"] == by
    ]


def test_rates_count_known_steps_alone():
    steps = steps_of(SCORED)
    known = steps.among(np.isfinite(steps.wrong))
    found = errors(known, threshold=0.5, seed=0)
    assert rates(found, "all") == [(8, 2, 1 / 8, 1 / 2)]
    assert rates(found, "step number") == [(4, 0, 0, None), (2, 2, 1 / 2, 1 / 2), (2, 0, 0, None)]
    assert rates(found, "generator") == [(6, 0, 1 / 6, None), (2, 2, 0, 1 / 2)]
    assert rates(found, "step length") == rates(found, "step number")
    assert rates(found, "style") == []  # none has one


def test_a_step_that_scores_the_threshold_is_taken_for_wrong():
    steps = steps_of([solution(0, (0.5,), None)])
    assert rates(errors(steps, threshold=0.5, seed=0), "all") == [(1, 0, 1, None)]


def test_scores_run_along_solutions_and_round_the_first_wrong_step():
    found = along(steps_of(SCORED), bounded=True, seed=0)
    round_it = {e["at"]: e["mean"].value for e in found if e["by"].startswith("steps from")}
    assert round_it == pytest.approx({-1: 0.75, 0: 0.4, 1: 0.6})
    # the middles of three steps are at 1/6, 1/2 and 5/6: bins 1, 4 and 6 of 8
    right = {e["at"]: e["mean"].value for e in found if e["solution"] == "right"}
    assert right == pytest.approx({1.5 / 8: 0.9, 4.5 / 8: 0.5, 6.5 / 8: 0.75})


def test_what_only_follows_the_position_is_told_from_what_finds_the_error():
    random = np.random.default_rng(0)
    falls, finds = [], []
    for number in range(200):
        wrong = int(random.integers(1, 5)) if number % 2 else None
        noise = random.normal(0, 0.02, 5)
        fall = tuple(0.9 - 0.15 * np.arange(5) + noise)
        find = tuple(0.8 + noise - 0.3 * (np.arange(5) == wrong))
        falls.append(solution(number, fall, wrong))
        finds.append(solution(number, find, wrong))
    reports = []
    for scored in (falls, finds):
        steps = steps_of(scored)
        report = first_error(steps.among(np.isfinite(steps.wrong)), seed=0)
        assert report is not None
        reports.append(report)
    follows, sees = reports
    assert sees["auroc"].value == sees["same_step_number"].value == 1
    assert sees["above_baseline"].low > 0
    low, high = follows["same_step_number"].low, follows["same_step_number"].high
    assert low < 0.5 < high and follows["above_baseline"].low < 0
    numbers = [each["number"] for each in sees["by_step_number"]]
    assert numbers == [2, 3, 4, 5]  # no first step is wrong


def test_unbounded_scores_are_no_chances_and_one_class_has_no_auroc():
    report = step_report(SCORED[:2], threshold=0.5, bounded=False, seed=0)
    assert (report["calibration"], report["first_error"]) == ([], None)
    assert report["first_error_found"] is None
    assert (report["right_steps"], report["wrong_steps"]) == (6, 0)


def test_the_first_step_taken_for_wrong_must_be_the_first_wrong_one():
    scored = [*SCORED, solution(4, (0.4, 0.1), 1)]  # the first step is taken for wrong
    found = step_report(scored, threshold=0.5, bounded=True, seed=0)["first_error_found"]
    assert (found.value, found.n) == (pytest.approx(1 / 3), 3)


def test_calibration_is_of_right_steps():
    report = step_report(SCORED, threshold=0.5, bounded=True, seed=0)
    (everything,) = [each for each in report["calibration"] if each["by"] == "all"]
    known = [(0.9, 1), (0.2, 1), (0.8, 1), (0.9, 1), (0.8, 1), (0.7, 1), (0.9, 1), (0.1, 0)]
    known += [(0.6, 1), (0.7, 0)]
    brier = sum((score - right) ** 2 for score, right in known) / len(known)
    assert everything["brier"].value == pytest.approx(brier)
    assert everything["steps"] == 10


def as_scored(scored: list, threshold: float = 0.5) -> Scored:
    return Scored({labelled.id: (labelled, scores) for labelled, scores in scored}, threshold)


def test_two_prms_agree_where_their_verdicts_are_the_same():
    other = [
        solution(0, (0.8, 0.9, 0.9), None),
        solution(1, (0.7, 0.6, 0.6), None),
        solution(2, (0.9, 0.8, 0.3), 1),
        solution(3, (0.6, 0.1, 0.9), 1),
        solution(9, (0.6, 0.1, 0.9), 1),  # the first PRM has not scored it
    ]
    found = agreement(as_scored(SCORED), as_scored(other), seed=0)
    assert found is not None
    assert (found["solutions"], found["steps"]) == (4, 12)
    assert found["same_verdict"].value == pytest.approx(9 / 12)
    hits = {name: estimate.value for name, estimate in found["first_errors_found"].items()}
    assert hits == {"both": 0, "this alone": 0.5, "other alone": 0.5, "neither": 0}
    assert found["error_accuracy_difference"].value == 0
    # this: half of both kinds are right; other: half of those with an error, all without
    assert found["f1_difference"].value == pytest.approx(0.5 - 2 * 0.5 / 1.5)
    change = [0.1, -0.7, -0.1, 0.2, 0.2, 0.1, 0.0, 0.0]
    assert found["change_on_right_steps"].value == pytest.approx(math.fsum(change) / len(change))
    assert found["change_on_wrong_steps"].value == pytest.approx((-0.7 + 0.6) / 2)
    assert agreement(as_scored(SCORED), as_scored(other[4:]), seed=0) is None
