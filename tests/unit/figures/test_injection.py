"""What injection says of features, as drawn."""

from pathlib import Path

import numpy as np
import pytest

from figures import fig_injection
from rewardscope.errors import MissingInput
from rewardscope.features.injection_table import VerdictRow
from rewardscope.settings import Settings
from tests.unit.figures.looking import assert_readable, bars, legend
from tests.unit.figures.results import write_table


def test_a_point_for_each_feature_and_a_bar_for_each_verdict(tmp_path: Path) -> None:
    rows = [
        {"feature": 0, "verdict": "token-driven", "share": 0.9, "share_control": 0.1},
        {"feature": 1, "verdict": "token-driven", "share": 7.0, "share_control": 0.0},
        {"feature": 2, "verdict": "context-dependent", "share": 0.05, "share_control": 0.02},
        {"feature": 3, "verdict": "undecided", "share": None, "share_control": None},
    ]
    common = {"reason": "x", "strategy": "token"}
    path = tmp_path / "features" / "topk" / "inject" / "a+b" / "verdicts.csv"
    write_table(path, VerdictRow, [row | common for row in rows])
    figure = fig_injection.draw(fig_injection.find(Settings(data_dir=tmp_path)))
    shares, verdicts = figure.axes
    points = {str(c.get_label()): np.asarray(c.get_offsets()).tolist() for c in shares.collections}
    assert points == {"token-driven": [[0.1, 0.9], [0.0, 2.0]], "context-dependent": [[0.02, 0.05]]}
    heights = {name: seen[0].value for name, seen in bars(verdicts).items()}
    assert heights == {
        "token-driven": 0.5,
        "partly": 0.0,
        "context-dependent": 0.25,
        "undecided": 0.25,
    }
    assert "1 features beyond" in " ".join(figure.get_supxlabel().split())
    assert legend(figure) == ["token-driven", "context-dependent", "partly", "undecided"]
    assert_readable(figure)


def test_without_results_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="run invoke inject"):
        fig_injection.find(Settings(data_dir=tmp_path))
