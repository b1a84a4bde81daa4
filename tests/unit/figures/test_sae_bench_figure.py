"""The figure of sae-bench, by what is drawn."""

from pathlib import Path

import numpy as np
import pytest

from figures import fig_sae_bench
from rewardscope.records import SaeBenchRow
from rewardscope.settings import Settings
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import columns_of, write_csv
from tests.unit.figures.looking import assert_readable, legend, lines, points


def row(sae: str, l0: float | None, measure: str, setting: str, value: float) -> SaeBenchRow:
    return SaeBenchRow(
        layer=3,
        l0=l0,
        sae=sae,
        kind=sae.partition("-")[0],
        measure=measure,
        setting=setting,
        value=value,
        low=value - 0.05,
        high=value + 0.05,
        n=16,
        unit="problems",
        control=None if l0 is None else value - 0.2,
        seed=0,
    )


def test_a_point_for_each_sae_at_its_l0_and_a_cross_for_its_control(tmp_path: Path) -> None:
    rows = [row("states", None, "probe of states", "correct", 0.9)]
    for sae, l0, value in (
        ("decoder-20", 20, 0.6),
        ("trained-20", 20, 0.7),
        ("trained-60", 60, 0.8),
    ):
        for k in (1, 5, 20):
            setting = f"correct, k {k}"
            rows.append(row(sae, l0, "sparse probe", setting, value + k / 1000))
            rows.append(row(sae, l0, "targeted perturbation", setting, value / 2))
        rows.append(row(sae, l0, "reward kept", "of mean ablation", value))
    folder = tmp_path / "sae-bench" / "one"
    folder.mkdir(parents=True)
    write_csv(folder / "measures.csv", rows, fields=columns_of(SaeBenchRow))
    write_json(folder / "manifest.json", {"outputs": {}})
    figure = fig_sae_bench.draw(fig_sae_bench.find(Settings(data_dir=tmp_path)))
    probe, targeted, kept = figure.axes
    near = pytest.approx
    assert points(probe) == {
        "decoder": [(20, near(0.605), near(0.555), near(0.655))],
        "trained": [
            (near(21), near(0.705), near(0.655), near(0.755)),
            (near(63), near(0.805), near(0.755), near(0.855)),
        ],
    }
    drawn = lines(probe)
    assert [value for _, value in drawn["decoder, control"]] == [near(0.405)]
    values = [np.asarray(line.get_ydata()).tolist() for line in probe.get_lines()]
    assert [0.9, 0.9] in values
    assert probe.get_title() == "sparse probe\ncorrect, k 5"
    assert targeted.get_title() == "targeted perturbation\ncorrect, k 5"
    assert [seen.value for seen in points(kept)["trained"]] == [0.7, 0.8]
    assert sorted(legend(figure)) == ["decoder", "decoder, control", "trained", "trained, control"]
    assert_readable(figure)
