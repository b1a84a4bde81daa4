"""SAEs, what they keep of the rewards, and the features that two sides differ in."""

import dataclasses
from pathlib import Path

import pytest

from figures import fig_features, fig_reward_kept, fig_saes
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.features.shares import DiffShare, shares_file
from rewardscope.settings import Settings
from rewardscope.statistics.intervals import wilson
from rewardscope.storage.files import sha256, write_json
from rewardscope.storage.tables import columns_of, write_csv
from tests.unit.figures.looking import assert_readable, bars, legend, points
from tests.unit.figures.results import estimate


def settings_of(data: Path) -> Settings:
    return dataclasses.replace(Settings(data_dir=data), sae_checkpoint_dir=data / "saes")


def test_a_bar_for_each_layer_and_run_and_one_legend(tmp_path: Path) -> None:
    for shift, run in enumerate(("topk", "wide")):
        for layer in (2, 4):
            quality = {
                "layer": layer,
                "n_rows": 90,
                "n_problems": 9,
                "fvu": estimate(layer / 10 + shift, layer / 20, 2.0),
                "dead_share": estimate(0.25, None, None),
            }
            folder = tmp_path / "saes" / run
            write_json(folder / f"layer_{layer:02}" / "quality.json", quality)
            write_json(folder / "manifest.json", {"outputs": {}})
    figure = fig_saes.draw(fig_saes.find(settings_of(tmp_path)))
    fvu, dead = figure.axes
    near = pytest.approx
    assert bars(fvu) == {
        "topk": [(near(1.8), near(0.2), near(0.1), 2), (near(3.8), near(0.4), near(0.2), 2)],
        "wide": [(near(2.2), near(1.2), near(0.1), 2), (near(4.2), near(1.4), near(0.2), 2)],
    }
    assert {seen[1:] for each in bars(dead).values() for seen in each} == {(0.25, None, None)}
    assert legend(figure) == ["topk", "wide"]
    assert_readable(figure)


def test_what_is_left_of_the_rewards_is_a_point_for_each_way_and_layer(tmp_path: Path) -> None:
    rewards = [
        {
            "reward": {
                "layer": layer,
                "n_steps": 30,
                "n_problems": 6,
                **{
                    way: {
                        "difference": estimate(place / 10 + layer, None, None),
                        "spearman": estimate(0.9, 0.8, 0.95),
                    }
                    for place, way in enumerate(("sae", "mean", "zero"))
                },
            }
        }
        for layer in (1, 3)
    ]
    folder = tmp_path / "sae-quality" / "run" / "m_toy"
    write_json(folder / "quality.json", rewards)
    write_json(folder / "manifest.json", {"outputs": {}})
    figure = fig_reward_kept.draw(fig_reward_kept.find(settings_of(tmp_path)))
    change, spearman = figure.axes
    assert {name: [seen[1:] for seen in each] for name, each in points(change).items()} == {
        name: [(place / 10 + layer, None, None) for layer in (1, 3)]
        for place, name in enumerate(("SAE", "mean ablation", "zero ablation"))
    }
    assert points(spearman)["SAE"][0][1:] == (0.9, pytest.approx(0.8), pytest.approx(0.95))
    assert legend(figure) == ["SAE", "mean ablation", "zero ablation"]
    assert change.get_title(loc="left") == "run, m_toy: 30 steps of 6 problems"
    assert_readable(figure)


def write_part(data: Path, run: str, part: int, total: int, *, created: str = "") -> None:
    """Write four features of one layer: two favour reasoning, one of them on formatting."""
    rows = [
        {
            "layer": part,
            "rate_reasoning": 0.2,
            "rate_instruct": 0.02 * place,
            "favours": favours,
            "share_formatting": formatting,
        }
        for place, (favours, formatting) in enumerate(
            [("reasoning", 0.9), ("reasoning", 0.1), ("instruct", 0.9), ("neither", 0.9)]
        )
    ]
    path = data / "features" / run / "diff" / f"part_{part:02}_of_{total:02}.csv"
    columns = columns_of(FeatureDiff)
    write_csv(path, [dict.fromkeys(columns, 1) | row for row in rows], fields=columns)
    write_json(path.with_name(f"{path.name}.manifest.json"), {"created": created, "outputs": {}})


def test_features_of_two_divisions_are_counted_once(tmp_path: Path) -> None:
    write_part(tmp_path, "sae", 1, 1, created="2025-01-01")
    for part in (1, 2):
        write_part(tmp_path, "sae", part, 2, created="2025-01-02")
    write_part(tmp_path, "sae", 1, 9, created="2025-01-03")  # the newest, but not whole
    write_part(tmp_path, "other", 1, 1)
    found = fig_features.find(settings_of(tmp_path))
    assert [path.name for path in found if "/sae/" in str(path)] == [
        "part_01_of_02.csv",
        "part_02_of_02.csv",
    ]
    figure = fig_features.draw(found)
    other, other_shares, rates, shares = figure.axes
    assert other.get_title() == "other: 4 features" and rates.get_title() == "sae: 8 features"
    assert [text.get_text() for text in shares.texts] == ["2", "2"]  # of layer 1 and layer 2
    heights = [patch.get_height() for patch in shares.patches]
    assert heights == [0.5, 0.5] and [p.get_height() for p in other_shares.patches] == [0.5]
    offsets = {c.get_label(): c.get_offsets().tolist() for c in rates.collections}
    assert offsets["reasoning"] == [[0.0, 0.2], [0.02, 0.2]] * 2
    assert offsets["neither"] == [[0.06, 0.2]] * 2
    assert legend(figure) == ["favours reasoning", "favours instruct", "favours neither"]
    assert_readable(figure)


def test_shares_by_control_are_points_of_each_group_and_baseline(tmp_path: Path) -> None:
    write_part(tmp_path, "sae", 1, 1)
    part = tmp_path / "features" / "sae" / "diff" / "part_01_of_01.csv"
    counts = {
        ("sae", "all", "none"): (40, 100),
        ("sae", "all", "token"): (20, 100),
        ("sae", "stable", "none"): (10, 50),
        ("random", "all", "none"): (30, 90),
        ("permuted-1", "all", "none"): (0, 100),
        ("permuted-2", "all", "none"): (2, 100),
    }
    rows = [
        DiffShare(
            **{"layer": 1, "reasoning": "a", "instruct": "b", "source": source, "group": group},
            **{"control": control, "category": category, "n": n, "count": count},
            **{"share": count / n, "low": 0.0, "high": 1.0},
            kept_reasoning=0.5 if control == "token" else 1.0,
            kept_instruct=0.75,
        )
        for (source, group, control), (count, n) in counts.items()
        for category in ("all", "word")  # what reasoning features fire on is not drawn here
    ]
    write_csv(shares_file(part), rows, fields=columns_of(DiffShare))
    written = {shares_file(part).name: sha256(shares_file(part))}
    write_json(part.with_name(f"{part.name}.manifest.json"), {"outputs": written})
    figure = fig_features.draw(fig_features.find(settings_of(tmp_path)))
    panel = figure.axes[2]
    drawn = {name: [seen.value for seen in each] for name, each in points(panel).items()}
    assert drawn == {
        "all features": [0.4, 0.2],
        "stable features": [0.2],
        "random directions": [pytest.approx(1 / 3)],
        "permuted problems": [0.01],
    }
    low, high = wilson(40, 100).low, wilson(40, 100).high
    assert points(panel)["all features"][0][2:] == (pytest.approx(low), pytest.approx(high))
    ticks = [tick.get_text() for tick in panel.get_xticklabels()]
    assert ticks[:2] == ["none (75%)", "token (50%)"] and len(ticks) == 7
    assert legend(figure)[3:] == list(drawn)
    assert_readable(figure)
