from pathlib import Path

import pytest

from rewardscope.errors import BadRecord
from rewardscope.storage.jsonl import PartialRows, read_rows


def test_rows_are_read_one_a_line_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n  {"a": "é {"} \n{"a": null}', encoding="utf-8")
    assert list(read_rows(path)) == [{"a": 1}, {"a": "é {"}, {"a": None}]


@pytest.mark.parametrize("line", ['{"a": 1', '{"a": 1} {"a": 2}', '{"a": 1}, {"a": 2}', "[1]", "a"])
def test_a_line_that_is_not_one_object_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 0}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(BadRecord, match=r"rows\.jsonl line 2: not (JSON|a JSON object)"):
        list(read_rows(path))


def test_a_torn_line_in_the_middle_of_partial_rows_is_named(tmp_path: Path) -> None:
    kept = tmp_path / ".rows.jsonl.partial"
    kept.write_text('key\n{"torn\n{"last, cut off', encoding="utf-8")
    with pytest.raises(BadRecord, match=r"partial line 2: .*; delete this line"):
        PartialRows(tmp_path / "rows.jsonl", "key")
    assert kept.read_text(encoding="utf-8").startswith('key\n{"torn\n')
