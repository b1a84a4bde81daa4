"""Figures of prm-bench: what is drawn is what its report says."""

from pathlib import Path
from typing import Any

import pytest

from figures import (
    fig_first_error,
    fig_prm_bench,
    fig_prm_inputs,
    fig_step_calibration,
    fig_step_errors,
)
from figures.prm_reports import find
from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.storage.files import write_json
from tests.unit.figures.looking import assert_readable, bands, legend, lines, points
from tests.unit.figures.results import estimate

PRMS = ("org/Good-PRM-7B", "Bad-PRM")
DRAWN = (fig_prm_bench, fig_step_errors, fig_step_calibration, fig_first_error, fig_prm_inputs)


def report(prm: str, shift: float) -> dict[str, Any]:
    """Return a report whose numbers are told apart by their digits."""

    def near(value: float) -> dict[str, Any]:
        return estimate(value + shift, value + shift - 0.04, value + shift + 0.03)

    rates = [{"by": "all", "group": "all", "false_positive": near(0.11), "false_negative": None}]
    for by, bounds in (
        ("step number", [(1, 1), (2, 3), (4, 9)]),
        ("step length", [(5, 40), (41, 160), (161, 2900)]),
    ):
        rates += [
            {
                "by": by,
                "group": "",
                "start": start,
                "end": end,
                "false_positive": near(0.1 + 0.1 * place),
                "false_negative": near(0.6 - 0.1 * place) if place else None,
            }
            for place, (start, end) in enumerate(bounds)
        ]
    rates += [
        {"by": "generator", "group": g, "false_positive": near(0.2), "false_negative": near(0.3)}
        for g in ("Llama-3.1-8B-Instruct", "Qwen2.5-Math-72B-Instruct")
    ]
    along = [
        {"solution": solution, "by": "position", "at": at, "mean": near(base)}
        for solution, base in (("right", 0.8), ("wrong", 0.6))
        for at in (0.25, 0.75)
    ] + [
        {"solution": "wrong", "by": "steps from the first wrong one", "at": at, "mean": near(0.4)}
        for at in (-1, 0, 1)
    ]
    reliability = [
        {"forecast": 0.2, "right": near(0.3)},
        {"forecast": 0.8, "right": estimate(0.9, None, None)},
    ]
    calibration = [
        {"by": by, "group": group, "steps": 9, "ece": near(0.05), "reliability": reliability}
        for by, group in (("all", "all"), ("subset", "gsm8k"), ("style", "instruct"))
    ]
    first_error = {
        "auroc": near(0.8),
        "baselines": {"step number": near(0.6), "relative position": near(0.7)},
        "best_baseline": "relative position",
        "above_baseline": near(0.1),
        "same_step_number": near(0.75),
        "by_step_number": [{"number": n, "auroc": near(0.7)} for n in (1, 2, 3)],
    }
    subset = {"f1": near(0.7), "error_accuracy": near(0.6), "correct_accuracy": near(0.8)}
    other = "Bad-PRM" if prm != "Bad-PRM" else PRMS[0]
    agreement = {"solutions": 9, "steps": 30, "spearman": near(0.5), "same_verdict": near(0.8)}
    return {
        "prm": prm,
        "threshold": 0.5,
        "solutions": 9,
        "processbench": {
            "subsets": {"gsm8k": subset, "math": subset | {"f1": None, "correct_accuracy": None}}
        },
        "steps": {
            "right_steps": 20,
            "wrong_steps": 5,
            "errors": [{"right": 9, "wrong": 3, **rate} for rate in rates],
            "calibration": calibration,
            "along": along,
            "first_error_found": near(0.55),
            "first_error": first_error,
        },
        "against": [{"other": prm.partition("@")[0] if "@" in prm else other, **agreement}],
    }


@pytest.fixture
def found(tmp_path: Path) -> list[Path]:
    prms = [*PRMS, f"{PRMS[0]}@no question"]
    for place, prm in enumerate(prms):
        path = tmp_path / "prm-bench" / f"prm-{place}" / "report.json"
        write_json(path, report(prm, 0.01 * place))
        write_json(path.with_name("report.json.manifest.json"), {"stage": "prm-bench-report"})
    return find(Settings(data_dir=tmp_path))


@pytest.mark.parametrize("module", DRAWN, ids=lambda module: module.__name__)
def test_each_can_be_read_and_names_the_prms(found: list[Path], module) -> None:
    figure = module.draw(found)
    assert legend(figure)[:2] == ["Good-PRM-7B", "Bad-PRM"]
    assert_readable(figure)


def test_subsets_without_both_kinds_have_no_f1(found: list[Path]) -> None:
    f1, found_errors, passed = fig_prm_bench.draw(found).axes
    assert [tuple(p[1:]) for p in points(f1)["Good-PRM-7B"]] == [pytest.approx((0.7, 0.66, 0.73))]
    assert [p.value for p in points(found_errors)["Bad-PRM"]] == pytest.approx([0.61, 0.61])
    assert len(points(passed)["Bad-PRM"]) == 1


def test_errors_stand_at_the_middle_of_their_bins(found: list[Path]) -> None:
    number, length, generator, missed, *_ = fig_step_errors.draw(found).axes
    assert lines(number)["Good-PRM-7B"] == [(1, 0.1), (2.5, 0.2), (6.5, pytest.approx(0.3))]
    assert length.get_xscale() == "log"
    assert [p.value for p in points(generator)["Bad-PRM"]] == pytest.approx([0.21, 0.21])
    assert [x for x, _ in lines(missed)["Good-PRM-7B"]] == [2.5, 6.5]  # no wrong step is a first


def test_scores_along_solutions_and_round_the_error_are_those_of_the_report(
    found: list[Path],
) -> None:
    position, around, number, beside = fig_first_error.draw(found).axes
    assert lines(position)["Bad-PRM, right"] == [(0.25, 0.81), (0.75, 0.81)]
    assert [x for x, _ in lines(around)["Good-PRM-7B, wrong"]] == [-1, 0, 1]
    assert sorted({round(y, 9) for _, y in bands(number)[0]}) == [0.66, 0.73]
    assert [p.value for p in points(beside)["Good-PRM-7B"]] == [0.8, 0.75]
    assert [p.value for p in points(beside)["without scores"]] == [0.6, 0.7]


def test_another_input_is_a_condition_of_its_prm_and_no_prm_of_its_own(found: list[Path]) -> None:
    exact, _, _, verdict, _ = fig_prm_inputs.draw(found).axes
    ticks = [tick.get_text() for tick in exact.get_xticklabels()]
    assert ticks == ["its question", "no question"]
    seen = points(exact)["Good-PRM-7B"]
    assert [(round(p.x), pytest.approx(p.value)) for p in seen] == [(0, 0.55), (1, 0.57)]
    ticks = [tick.get_text() for tick in verdict.get_xticklabels()]
    assert ticks == ["the other PRM", "no question"]


def test_without_reports_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="run invoke prm-bench"):
        find(Settings(data_dir=tmp_path))
