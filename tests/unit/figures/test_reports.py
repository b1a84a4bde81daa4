"""Results that figures read: what does not fit is one line with the file and the field."""

from pathlib import Path
from typing import Any

import pytest

from figures.reports import MetricsReport, PatternsReport, SaeQuality
from rewardscope.errors import BadRecord
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import read_json_as
from tests.unit.figures.results import estimate

METRICS = {
    "metrics": {"accuracy": estimate(0.5, None, None)},
    "traces_per_problem": [4, 4],
    "equal_compute": {
        "budget_flops": 8e9,
        "problems": 9,
        "by_budget": [
            {"made_by": "beam", "vote": "answer", "flops": 1, "accuracy": estimate(1, 0, 1)}
        ],
    },
    "a_later_field": 1,
}
PATTERNS = {
    "step_length_unit": "tokens",
    "counts": [{"policy": "m", "window": "inside", "right": 1, "wrong": 2}],
    "calibration": [],
}
CHANGE = {"difference": estimate(0.5, None, None), "spearman": estimate(0.9, 0.8, 1)}
REWARD = {"layer": 1, "n_steps": 3, "n_problems": 2, "sae": CHANGE, "mean": CHANGE, "zero": CHANGE}


@pytest.mark.parametrize(
    ("kind", "found", "message"),
    [
        (
            MetricsReport,
            METRICS | {"metrics": {"accuracy": estimate(0.5, None, None) | {"value": "0.5"}}},
            "metrics[...].value: Expected float, got str",
        ),
        (
            MetricsReport,
            METRICS | {"traces_per_problem": [4]},
            "traces_per_problem: Expected array of length 2",
        ),
        (
            MetricsReport,
            METRICS | {"equal_compute": {"budget_flops": 8e9}},
            "equal_compute: Object missing required field problems",
        ),
        (
            PatternsReport,
            PATTERNS | {"counts": [PATTERNS["counts"][0] | {"right": 1.5}]},
            "counts[0].right: Expected int, got float",
        ),
        (
            list[SaeQuality],
            [{"reward": REWARD}, {"reward": REWARD | {"layer": None}}],
            "[1].reward.layer: Expected int, got null",
        ),
        (list[SaeQuality], {"reward": REWARD}, "Expected array, got object"),
    ],
)
def test_a_field_of_the_wrong_type_is_one_line(
    tmp_path: Path, kind: Any, found: Any, message: str
) -> None:
    path = tmp_path / "result.json"
    write_json(path, found)
    with pytest.raises(BadRecord) as told:
        read_json_as(path, kind)
    assert str(told.value) == f"{path}: {message}"


def test_what_no_figure_needs_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, METRICS)
    assert read_json_as(path, MetricsReport).metrics["accuracy"].value == 0.5
