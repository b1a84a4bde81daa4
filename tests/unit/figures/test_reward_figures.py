"""Rewards along a trace, and reward patterns: lines are the bins of the table, in the policies'
names.
"""

from pathlib import Path

import pytest

from figures import fig_reward_patterns, fig_rewards
from rewardscope.records import PatternBin
from rewardscope.settings import Settings
from rewardscope.storage.files import write_json
from tests.unit.figures.looking import assert_readable, bands, legend, lines
from tests.unit.figures.results import estimate, write_generations, write_table

# as real solutions have them: most steps are short, a few very long
LENGTHS = [(1, 6), (6, 11), (11, 18), (18, 29), (29, 47), (47, 90), (90, 240), (240, 2900)]


@pytest.fixture
def found(tmp_path: Path) -> list[Path]:
    """Return the table of two policies whose mean scores are told apart by their digits."""
    rows = []
    for number, policy in enumerate(("a", "b")):
        write_generations(tmp_path, f"{policy}_toy", policy=policy)
        for answer in ("right", "wrong"):
            shift = 0.01 * number + (0.5 if answer == "right" else 0)
            for by, bounds in (
                ("position", [(0, 0.5), (0.5, 1)]),
                ("step length", LENGTHS),
                ("step count", [(2, 4), (4, 9)]),
            ):
                rows += [
                    {
                        "policy": f"{policy}_toy",
                        "window": "inside",
                        "answer": answer,
                        "by": by,
                        "start": start,
                        "end": end,
                        "mean": shift + 0.05 * place,
                        "low": "" if place else shift - 0.005,
                        "high": "" if place else shift + 0.02,
                    }
                    for place, (start, end) in enumerate(bounds)
                ]
    path = write_table(tmp_path / "reward-patterns" / "a+b" / "patterns.csv", PatternBin, rows)
    curve = [
        {"forecast": 0.1, "right": estimate(0.2, 0.1, 0.4)},
        {"forecast": 0.9, "right": estimate(0.6, None, None)},
    ]
    counts = [
        {"policy": f"{p}_toy", "window": "inside", "right": 5 + i, "wrong": 7}
        for i, p in enumerate("ab")
    ]
    calibration = {
        "policy": "b_toy",
        "window": "inside",
        "ece": estimate(0.31, None, None),
        "ece_calibrated": 0.047,
        "reliability": curve,
    }
    report = {
        "step_length_unit": "tokens",
        "counts": counts,
        "calibration": [
            {**calibration, "forecast": "last"},
            {**calibration, "forecast": "each step", "reliability": []},
        ],
    }
    write_json(path.with_name("report.json"), report)
    return fig_reward_patterns.find(Settings(data_dir=tmp_path))


def test_scores_along_a_trace_are_the_bins_of_position(found: list[Path]) -> None:
    figure = fig_rewards.draw(found)
    for number, axes in enumerate(figure.axes):
        assert axes.get_title() == f"{'ab'[number]}\n{5 + number} right traces, 7 wrong"
        for label, base in (("right answer", 0.5), ("wrong answer", 0.0)):
            base += 0.01 * number
            expected = [(0.25, base), (0.75, base + 0.05)]
            assert lines(axes)[label] == [pytest.approx(point) for point in expected]
        assert {x for x, _ in bands(axes)[0]} == {0.25}  # the second bin has no interval
    assert legend(figure) == ["right answer", "wrong answer"]
    assert_readable(figure)


def test_patterns_have_ticks_that_fit_real_step_lengths(found: list[Path]) -> None:
    figure = fig_reward_patterns.draw(found)
    position, length, count, reliability = figure.axes
    assert length.get_xscale() == "log" and length.get_xlabel() == "step length (tokens)"
    assert position.get_xscale() == count.get_xscale() == "linear"
    centres = [(start + end) / 2 for start, end in LENGTHS]
    expected = [(x, 0.51 + 0.05 * place) for place, x in enumerate(centres)]
    assert lines(length)["b, right"] == [pytest.approx(point) for point in expected]
    assert lines(count)["a, wrong"] == [pytest.approx(p) for p in [(3, 0.0), (6.5, 0.05)]]
    shown = [tick.get_text() for tick in length.get_xticklabels()]
    assert shown == ["10", "30", "100", "300", "1000"]
    assert legend(figure) == ["a", "b", "right answer", "wrong answer"]
    (curve,) = [c for c in reliability.containers if c.get_label() == "b"]
    assert curve.lines[0].get_xydata().tolist() == [[0.1, 0.2], [0.9, 0.6]]
    assert (
        "calibration error of the last step's score: b 0.31 (0.05 if calibrated)"
        in figure.get_supxlabel()
    )
    assert "data: toy" in figure.get_supxlabel()
    assert_readable(figure)
