"""Tables of feature-diff of older versions, and of this one beside them."""

from pathlib import Path

import pytest

from rewardscope.errors import BadRecord
from rewardscope.features.diff_files import read_columns, write_diff
from rewardscope.features.diff_table import FeatureDiff, find_parts, merge_parts, survived
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import columns_of, write_csv

COLUMNS = columns_of(FeatureDiff)
OLD = COLUMNS[: COLUMNS.index("share_step_tag") + 1]
VALUES = dict.fromkeys(COLUMNS, 1) | {"reasoning": "a", "instruct": "b", "favours": "reasoning"}


def finish(path: Path, *, created: str) -> None:
    manifest = {"settings": {"part": 1, "total": 1}, "created": created}
    write_json(path.with_name(f"{path.name}.manifest.json"), manifest)


def write_old(folder: Path) -> Path:
    path = folder / "part_01_of_01.csv"
    write_csv(path, [{name: VALUES[name] for name in OLD} | {"low": None}], fields=OLD)
    finish(path, created="2025-01-01")
    return path


def test_the_csv_tables_of_older_versions_are_read(tmp_path: Path) -> None:
    path = write_old(tmp_path)
    assert find_parts(tmp_path) == [path]
    (row,) = merge_parts(tmp_path)
    assert (row.feature, row.low, row.favours) == (1, None, "reasoning")
    assert (row.auroc, row.survives, row.stable) == (None, None, None) and survived(row) == ()


def test_a_newer_table_beside_an_old_one_counts(tmp_path: Path) -> None:
    write_old(tmp_path)
    path = tmp_path / "part_01_of_01.parquet"
    new = {name: [VALUES[name]] for name in OLD} | {"q_value": [1e-200], "low": [float("nan")]}
    assert write_diff(path, [new | {"top_category": ["word"], "survives": ["token,all"]}]) == 1
    finish(path, created="2025-01-02")
    (row,) = merge_parts(tmp_path)
    assert (row.q_value, row.low, row.stable) == (1e-200, None, None)
    assert survived(row) == ("token", "all")
    assert read_columns(path, ["feature", "favours"])["favours"].tolist() == ["reasoning"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadRecord, match=r"part_01_of_01\.parquet"):
        merge_parts(tmp_path)
