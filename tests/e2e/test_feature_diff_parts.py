"""feature-diff in parts, and the settings that change its table."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rewardscope.errors import MissingInput
from rewardscope.features.diff_files import read_diff
from rewardscope.features.diff_table import find_parts, merge_parts
from rewardscope.features.shares import shares_file
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_json
from tests.e2e.planted_features import (
    BOTH,
    HOSTILE_FEATURE,
    NEWLINE,
    by_feature,
    diff,
    settings_on,
    write_inputs,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def settings(inputs: Path, tmp_path: Path) -> Settings:
    return settings_on(inputs, tmp_path / "data")


def test_parts_together_are_the_whole_and_every_unit_is_in_one(settings: Settings) -> None:
    instruct = ("math-rm-plain", "math-rm-plain-2")
    whole = read_diff(diff(settings, instruct=instruct))
    parts = [diff(settings, instruct=instruct, part=part, total=3) for part in (1, 2, 3)]
    cells = [read_diff(path) for path in parts]
    assert [len({(row.layer, row.instruct) for row in part}) for part in cells] == [1, 1, 2]
    assert [row for part in cells for row in part] == whole
    assert len(merge_parts(parts[0].parent)) == len(whole)


def test_a_part_without_work_is_a_table_with_its_header_only(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    out = diff(settings, part=1, total=10)
    assert pq.read_schema(out).names[:4] == ["layer", "reasoning", "instruct", "feature"]
    assert read_diff(out) == [] and len(shares_file(out).read_text().splitlines()) == 1
    assert read_json(out.with_name(f"{out.name}.manifest.json"))["extra"] == {"units": 0}


def test_merging_names_the_parts_that_are_missing(settings: Settings) -> None:
    folder = diff(settings, part=2, total=4).parent
    with pytest.raises(MissingInput, match="parts 1,3,4 of 4 are not there"):
        merge_parts(folder)
    for part in (1, 3, 4):
        diff(settings, part=part, total=4)
    assert len(find_parts(folder)) == 4
    with pytest.raises(MissingInput, match="no results; run invoke feature-diff"):
        merge_parts(folder.parent / "nothing")


def test_parts_made_with_different_settings_are_not_mixed(settings: Settings) -> None:
    folder = diff(settings, part=1, total=2).parent
    diff(settings, part=2, total=2, seed=1)
    with pytest.raises(MissingInput, match="different inputs or settings"):
        merge_parts(folder)


def test_thresholds_layers_and_resamples_change_the_table(settings: Settings) -> None:
    strict = by_feature(merge_parts(diff(settings, fdr=1e-30).parent), layer=0)
    assert strict[NEWLINE].favours == "neither"
    few = by_feature(
        merge_parts(diff(settings, layers="0", resamples=3, force=True).parent), layer=0
    )
    assert (few[BOTH].low, few[BOTH].high) != (strict[BOTH].low, strict[BOTH].high)
    loose = merge_parts(diff(settings, layers="5", min_log2_ratio=0.0, force=True).parent)
    assert {row.layer for row in loose} == {5}
    assert by_feature(loose, layer=5)[HOSTILE_FEATURE].favours == "instruct"
    steep = merge_parts(diff(settings, layers="5", min_log2_ratio=5.0, force=True).parent)
    assert by_feature(steep, layer=5)[HOSTILE_FEATURE].favours == "neither"
