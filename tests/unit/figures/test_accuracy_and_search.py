"""Accuracy and search against compute: the bars and points are the numbers of the metrics files."""

from pathlib import Path

import pytest

from figures import fig_accuracy, fig_search
from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.storage.files import write_json
from tests.unit.figures.looking import assert_readable, bars, legend, points
from tests.unit.figures.results import estimate, write_generations, write_metrics

METHODS = {
    "m_toy": (None, 0.8),
    "m_toy_greedy": (None, 0.0),
    "m_toy_beam_search_prm": ("beam", 0.8),
    "m_toy_dvts_prm": ("dvts", 0.8),
    "m_toy_best_of_n_prm": ("best-of-n", 0.8),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with the metrics of one policy in five ways, none with another's numbers."""
    for number, (name, (search, temperature)) in enumerate(METHODS.items(), start=1):
        write_generations(tmp_path, name, policy="m", search=search, temperature=temperature)
        found = {
            "accuracy": estimate(number / 10, number / 10 - 0.05, number / 10 + 0.1),
            "mean_accuracy": estimate(0.75, 0.7, 0.8),
            "majority@4": estimate(0.85, None, None),
        }
        write_metrics(tmp_path, name, found, traces=1 if name == "m_toy_greedy" else 4)
    return tmp_path


def test_every_way_to_answer_is_a_bar_of_its_own_with_its_interval(data: Path) -> None:
    figure = fig_accuracy.draw(fig_accuracy.find(Settings(data_dir=data)))
    (axes,) = figure.axes
    assert {name: seen[0][1:] for name, seen in bars(axes).items()} == {
        "greedy": (0.2, pytest.approx(0.15), pytest.approx(0.3)),
        "mean of the samples": (0.75, pytest.approx(0.7), pytest.approx(0.8)),
        "majority of the samples": (0.85, None, None),
        "beam search, PRM": (0.3, pytest.approx(0.25), pytest.approx(0.4)),
        "DVTS, PRM": (0.4, pytest.approx(0.35), pytest.approx(0.5)),
        "best of n, PRM": (0.5, pytest.approx(0.45), pytest.approx(0.6)),
    }
    assert legend(figure) == list(fig_accuracy.METHODS)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["m"]  # a policy, not a file
    assert axes.get_title() == "toy, 9 problems"
    assert_readable(figure)


def test_the_legend_has_no_entry_for_what_is_not_drawn(data: Path) -> None:
    paths = [data / f"{name}.metrics.json" for name in ("m_toy", "m_toy_dvts_prm")]
    figure = fig_accuracy.draw(paths)
    assert legend(figure) == ["mean of the samples", "majority of the samples", "DVTS, PRM"]
    assert_readable(figure)


@pytest.mark.parametrize("kept", [True, False], ids=["generations there", "generations gone"])
@pytest.mark.parametrize("name", ["m_toy_dvts_prm", "m_toy_best_of_n_prm"])
def test_a_search_is_named_by_its_method_whatever_the_metrics_are_called(
    data: Path, name: str, kept: bool
) -> None:
    path = write_metrics(data, "mine", {"accuracy": estimate(0.5, 0.4, 0.6)}, traces=4)
    source = data / f"{name}.jsonl"
    inputs = {"generations": {"source": str(source), "digest": ""}}
    write_json(data / "mine.metrics.json.manifest.json", {"inputs": inputs, "outputs": {}})
    if not kept:
        source.unlink()
        source.with_name(f"{source.name}.manifest.json").unlink()
    figure = fig_accuracy.draw([path])
    assert legend(figure) == [{"d": "DVTS, PRM", "b": "best of n, PRM"}[name[6]]]


def row(by: str, vote: str, k: int, flops: float, accuracy: dict) -> dict:
    return {"made_by": by, "vote": vote, "k": k, "flops": flops, "accuracy": accuracy}


def test_each_budget_is_a_point_and_greedy_is_among_them(data: Path) -> None:
    compared = {
        "budget_flops": 8e9,
        "problems": 9,
        "by_budget": [
            row("beam", "answer", 4, 8e9, estimate(0.5, 0.4, 0.6)),
            row("samples", "majority", 1, 1e9, estimate(0.45, 0.35, 0.55)),
            row("samples", "majority", 4, 4e9, estimate(0.65, 0.5, 0.8)),
            row("greedy", "answer", 1, 1.5e9, estimate(0.7, None, None)),
        ],
    }
    write_metrics(data, "m_toy_beam_search_prm", {}, equal_compute=compared)
    found = fig_search.find(Settings(data_dir=data))
    assert [path.name for path in found] == ["m_toy_beam_search_prm.metrics.json"]
    figure = fig_search.draw(found)
    (axes,) = figure.axes
    near = pytest.approx
    assert points(axes) == {
        "greedy": [(1.5, 0.7, None, None)],
        "majority of k samples": [(1, 0.45, near(0.35), near(0.55)), (4, 0.65, 0.5, near(0.8))],
        "beam search, PRM": [(8, 0.5, near(0.4), near(0.6))],
    }
    assert legend(figure) == ["greedy", "majority of k samples", "beam search, PRM"]
    assert axes.get_title() == "m on toy, 9 problems" and axes.get_xscale() == "log"
    assert_readable(figure)


def test_metrics_that_compare_nothing_are_no_search_figure(data: Path) -> None:
    with pytest.raises(MissingInput, match="--against"):
        fig_search.find(Settings(data_dir=data))
