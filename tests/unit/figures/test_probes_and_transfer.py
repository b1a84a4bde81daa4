"""Probes and their transfer: lines, bands and maps are the numbers of the tables."""

from pathlib import Path

import numpy as np
import pytest

from figures import fig_probes, fig_transfer
from rewardscope.records import ProbeResult, TransferResult
from rewardscope.settings import Settings
from tests.unit.figures.looking import assert_readable, bands, legend, lines
from tests.unit.figures.results import write_generations, write_table

POLICIES = ("long-policy-name-of-a", "b")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for policy in POLICIES:
        write_generations(tmp_path, f"{policy}_toy", policy=policy)
    return tmp_path


def probe_rows(metric: str, shift: float) -> list[dict]:
    control = {"layer": "", "probe": "token", metric: 0.1, "low": "", "high": "", "margin": ""}
    return [
        {**control, "n_test_problems": 7},
        *(
            {
                "layer": layer,
                "probe": "states",
                metric: 0.2 * layer + shift,
                "low": "" if layer == 3 else 0.2 * layer,
                "high": "" if layer == 3 else 0.2 * layer + 0.3,
                "margin": "" if layer == 3 else 0.05,
                "n_test_problems": 7,
            }
            for layer in range(4)
        ),
    ]


def test_probes_are_lines_with_bands_named_after_their_policies(data: Path) -> None:
    for shift, policy in enumerate(POLICIES):
        for target, metric in (("reward", "r2"), ("correct", "auroc")):
            folder = data / f"math-rm-{policy}_toy" / "linreg" / target
            write_table(folder / "results.csv", ProbeResult, probe_rows(metric, 0.1 + shift / 10))
    figure = fig_probes.draw(fig_probes.find(Settings(data_dir=data)))
    assert [axes.get_title() for axes in figure.axes] == ["target: reward", "target: correct"]
    for axes in figure.axes:
        drawn = lines(axes)
        for shift, policy in enumerate(POLICIES):
            expected = [(layer, 0.2 * layer + 0.1 + shift / 10) for layer in range(4)]
            assert drawn[policy] == [pytest.approx(point) for point in expected]
            control = drawn[f"{policy}, best control"]
            assert control[:3] == [pytest.approx((x, y - 0.05)) for x, y in expected[:3]]
            assert np.isnan(control[3][1])  # a margin that is not known is not 0
        for band in bands(axes):
            assert {(0.0, 0.0), (2.0, 0.4), (2.0, 0.7)} <= {(x, round(y, 6)) for x, y in band}
            assert max(x for x, _ in band) == 2  # without bounds there is no band
    assert sorted(legend(figure)) == sorted(
        name for policy in POLICIES for name in (policy, f"{policy}, best control")
    )
    assert "data: toy; 7 test problems" in figure.get_supxlabel()
    assert_readable(figure)


def test_transfer_is_a_map_for_each_layer_and_the_loss_by_layer(data: Path) -> None:
    names = [f"{policy}_toy" for policy in POLICIES]
    rows = [
        {
            "train": train,
            "test": test,
            "layer": layer,
            "target": "reward",
            "value": value,
            "loss": 0 if train == test else 0.5 + layer,
            "loss_low": 0.2 if layer else "",
            "loss_high": 40 if layer else "",
            "n_test_problems": 6,
        }
        for layer in range(3)
        for train, test, value in [
            (names[0], names[0], 0.9),
            (names[0], names[1], -4.25 - layer),
            (names[1], names[0], -12),
            (names[1], names[1], 0.8),
        ]
    ]
    write_table(data / "probe-transfer" / "a+b" / "reward" / "results.csv", TransferResult, rows)
    figure = fig_transfer.draw(fig_transfer.find(Settings(data_dir=data)))
    *maps, loss, scale = figure.axes
    for layer, axes in enumerate(maps):
        assert axes.get_title() == f"layer {layer}"
        assert axes.images[0].get_array().tolist() == [[0.9, -4.25 - layer], [-12, 0.8]]
        texts = [text.get_text() for text in axes.texts]
        assert texts == ["0.90", f"{-4.25 - layer:.2f}", "< -10", "0.80"]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == list(POLICIES)
        assert axes.images[0].get_clim() == (0, 1)
    assert [tick.get_text() for tick in maps[0].get_yticklabels()] == list(POLICIES)
    assert scale.get_ylabel() == "R²" and scale.get_yticks().tolist() == [0, 0.5, 1]
    expected = [(layer, 0.5 + layer) for layer in range(3)]
    pairs = [f"{POLICIES[0]} → b", f"b → {POLICIES[0]}"]
    assert lines(loss) == dict.fromkeys(pairs, expected)
    assert {(1.0, 0.2), (1.0, 40.0)} <= bands(loss)[0]
    assert [tick.get_text() for tick in loss.get_yticklabels()] == ["0", "1", "10"]
    assert sorted(legend(figure)) == sorted(pairs)
    assert_readable(figure)
