"""What edits of solutions and of features do to the scores, as drawn."""

from pathlib import Path

import pytest

from figures import fig_feature_ablate, fig_perturb
from rewardscope.features.ablation_table import AblationRow
from rewardscope.settings import Settings
from rewardscope.stages.perturb_tables import RuleChange, RuleSeparation
from tests.unit.figures.looking import assert_readable, bands, legend, points
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


def test_a_point_for_each_set_of_features_over_the_band_of_its_controls(tmp_path: Path) -> None:
    folder = tmp_path / "feature-ablate" / "sae" / "m_toy"
    unknown = dict.fromkeys(("control", "control_low", "control_high"))
    sets = [
        ("check", "no-op", unknown),
        ("check", "all features ablated", unknown),
        ("feature", "17", {"control": 0.0, "control_low": -0.25, "control_high": 0.5}),
        ("set", "all chosen", {"control": 0.1, "control_low": 0.0, "control_high": 0.75}),
        ("baseline", "all chosen", unknown),
    ]
    rows = [
        {
            "layer": 3,
            "kind": kind,
            "name": name,
            "n_features": 1 if kind == "feature" else 8,
            "edit": "ablate",
            "measure": measure,
            "original": 0.625,
            "change": place / 10,
            "low": None if measure == "auroc" else -1.0,
            "high": None if measure == "auroc" else 1.0,
            "n_problems": 12,
            **controls,
        }
        for measure in ("score", "auroc", "false_positive")
        for place, (kind, name, controls) in enumerate(sets)
    ]
    write_table(folder / "results.csv", AblationRow, rows)
    figure = fig_feature_ablate.draw(fig_feature_ablate.find(Settings(data_dir=tmp_path)))
    score, auroc, *others = figure.axes
    near = pytest.approx
    ends = (near(-1.0), near(1.0))
    assert points(score) == {
        "one feature": [(0, near(0.2), *ends)],
        "all chosen features": [(1, near(0.3), *ends)],
        "their twins in the baseline": [(2, near(0.4), *ends)],
    }
    assert points(auroc)["one feature"] == [(0, near(0.2), None, None)]
    one, several = bands(score)
    assert {y for _, y in one} == {-0.25, 0.5} and {x for x, _ in one} == {-0.35, 0.35}
    assert {y for _, y in several} == {0.0, 0.75}
    labels = [label.get_text() for label in score.get_xticklabels()]
    assert labels == ["17", "all chosen (8)", "baseline (8)"]
    assert score.get_title(loc="left").endswith("as it is 0.62, without any feature 0.72")
    assert score.get_ylabel() == "sae, layer 3,\nm_toy, ablate\nchange"
    assert others[-1].get_title(loc="left").endswith("no labels for it")
    assert len(legend(figure)) == 4
    assert_readable(figure)
