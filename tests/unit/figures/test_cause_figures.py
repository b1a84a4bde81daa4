"""What edits of solutions and of features do to the scores, as drawn."""

from pathlib import Path

import pytest

from figures import fig_perturb
from rewardscope.settings import Settings
from rewardscope.stages.perturb_tables import RuleChange, RuleSeparation
from tests.unit.figures.looking import assert_readable, legend, points
from tests.unit.figures.results import write_table


def test_a_point_for_each_rule_and_reading_with_the_separation_in_the_title(tmp_path: Path) -> None:
    folder = tmp_path / "perturb" / "toy-prm" / "tinymath"
    names = {"dataset": "tinymath", "n_problems": 9}
    rows = [
        {
            **names,
            "rule": rule,
            "kind": kind,
            "reading": reading,
            "change": -0.1 * place - shift,
            "low": None if kind == "changing" else -2.6,
            "high": None if kind == "changing" else 0.25,
        }
        for shift, reading in enumerate(("at", "min", "final"))
        for place, (rule, kind) in enumerate(
            [("filler", "preserving"), ("latex", "preserving"), ("wrong-number", "changing")]
        )
    ]
    apart = [{**names, "changing": "all", "reading": "min", "auroc": 0.875}]
    write_table(folder / "separation.csv", RuleSeparation, apart)
    write_table(folder / "rules.csv", RuleChange, rows)
    figure = fig_perturb.draw(fig_perturb.find(Settings(data_dir=tmp_path)))
    at, least, final = figure.axes
    kept = points(at)["leaves it right"]
    near = pytest.approx
    assert kept == [(0, near(0), near(-2.6), near(0.25)), (1, near(-0.1), near(-2.6), near(0.25))]
    assert points(final)["breaks it"] == [(2, near(-2.2), None, None)]
    assert "AUROC of the kinds 0.88" in least.get_title(loc="left")
    assert at.get_title(loc="left") == "the edited step, 9 problems"
    labels = [label.get_text() for label in at.get_xticklabels()]
    assert labels == ["filler", "latex", "wrong-number"]
    assert legend(figure) == ["leaves it right", "breaks it"]
    assert_readable(figure)
