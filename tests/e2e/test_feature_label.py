"""feature-label on planted features: categories with their base rates, and shares of features."""

from pathlib import Path
from typing import Any

import pytest

from rewardscope.features.labels_table import CategoryShare, FeatureCategory
from rewardscope.settings import Settings
from rewardscope.stages import feature_label
from rewardscope.storage.tables import read_csv_as
from tests.e2e.planted_features import BOTH, NEWLINE, diff, make_acts, settings_on, write_inputs
from tests.unit.sae.planted import STEP_TAG


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def settings(inputs: Path, tmp_path: Path) -> Settings:
    return settings_on(inputs, tmp_path / "data")


def label(settings: Settings, **flags: Any) -> tuple[list[FeatureCategory], list[CategoryShare]]:
    folder = feature_label.run(
        feature_label.Config(
            ds_names=("math-rm-reasoner", "math-rm-plain"), sae="planted", device="cpu", **flags
        ),
        settings,
    )
    return (
        read_csv_as(folder / "categories.csv", FeatureCategory),
        read_csv_as(folder / "shares.csv", CategoryShare),
    )


def test_planted_features_have_their_category_and_blind_ones_none(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    diff(settings)
    rows, shares = label(settings)
    texts = [
        text
        for side, seed in ((True, 0), (False, 1))
        for sequence in make_acts(reasoning=side, seed=seed).sequences
        for text in sequence.tokens
    ]
    of = {(row.layer, row.feature, row.scope): row for row in rows}
    for scope in ("all", "top"):
        newline = of[5, NEWLINE, scope]
        assert (newline.category, newline.assigned, newline.purity) == ("whitespace", True, 1.0)
        # \u2028 is white space too
        base = sum(text.isspace() for text in texts) / len(texts)
        assert newline.base_rate == pytest.approx(base, rel=1e-5)
        assert newline.lift == pytest.approx(1 / base, rel=1e-5)
        assert newline.low is not None and 1 < newline.low <= newline.lift
        assert newline.firings == texts.count("\n\n")
    assert not of[5, 0, "all"].assigned and not of[5, BOTH, "all"].assigned
    special = next(
        row
        for row in shares
        if (row.category, row.scope, row.features) == ("special", "all", "all")
    )
    assert special.base_rate is not None
    assert special.base_rate >= texts.count(STEP_TAG) / len(texts)
    reasoning = {
        row.category: row
        for row in shares
        if (row.layer, row.scope, row.features) == (5, "all", "reasoning")
    }
    assert (reasoning["whitespace"].count, reasoning["formatting"].n) == (1, 1)
    assert reasoning["whitespace"].low is not None
    assert "features that favour reasoning" in capsys.readouterr().out


def test_without_feature_diff_all_features_are_counted_and_a_second_run_skips(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    rows, shares = label(settings)
    assert {row.features for row in shares} == {"all"}
    assert sum(r.count for r in shares if (r.layer, r.scope, r.category) == (5, "all", "mixed")) > 0
    assert label(settings) == (rows, shares)
    assert any("skipped" in record.message for record in caplog.records)
