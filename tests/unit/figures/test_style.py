"""What all figures share: ticks that fit, and series named after policies."""

from pathlib import Path

import pytest

from figures.names import labels
from figures.style import MOST_TICKS, log_ticks
from tests.unit.figures.results import write_generations


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 10, [1, 2, 5, 10]),
        (3, 40, [5, 10, 20]),
        (1, 200, [1, 3, 10, 30, 100]),
        (3.5, 1570, [10, 30, 100, 300, 1000]),
        (0.2, 5.1, [0.2, 0.5, 1, 2, 5]),
        (2.1, 4.4, [2.1, 4.4]),
        (1, 1e9, [1, 100, 1e4, 1e6, 1e8]),
    ],
)
def test_a_logarithmic_axis_has_a_few_round_ticks(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)
    assert 2 <= len(ticks) <= MOST_TICKS


def test_a_series_is_named_after_its_policy_and_what_else_tells_it_apart(tmp_path: Path) -> None:
    for name, policy, dataset, search in [
        ("a_x", "a", "x", None),
        ("a_x_beam_search_prm", "a", "x", "beam"),
        ("b_x", "b", "x", None),
        ("b_y", "b", "y", None),
        ("again", "b", "x", None),
    ]:
        write_generations(tmp_path, name, policy=policy, dataset=dataset, search=search)
    assert labels(tmp_path, ["math-rm-a_x", "b_x"]) == {"math-rm-a_x": "a", "b_x": "b"}
    assert labels(tmp_path, ["a_x", "a_x_beam_search_prm"]) == {
        "a_x": "a",
        "a_x_beam_search_prm": "a, beam search",
    }
    assert labels(tmp_path, ["b_x", "b_y"]) == {"b_x": "b on x", "b_y": "b on y"}
    assert labels(tmp_path, ["math-lm-a_x", "math-rm-a_x"]) == {
        "math-lm-a_x": "a, own states",
        "math-rm-a_x": "a",
    }
    assert labels(tmp_path, ["b_x", "again"]) == {"b_x": "b_x", "again": "again"}
    assert labels(tmp_path, ["math-rm-unknown"]) == {"math-rm-unknown": "unknown"}
