"""Save-acts folders of older versions, a JSON object a line, are read alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardscope.errors import BadRecord
from rewardscope.storage.acts import write_traces
from rewardscope.storage.row_files import OldRows
from rewardscope.storage.sequences import ActSequence
from tests.act_files import as_rows, as_table, read_act_rows, write_act_rows
from tests.unit.storage.row_folders import row, write_manifest, write_old


def test_a_folder_of_older_versions_is_read_to_the_same_columns(tmp_path: Path) -> None:
    rows = [
        row(f"p/{number // 3}", trace=number % 3, token=number * 10 + at, reward=None)
        for number in range(9)
        for at in range(4)
    ]
    sequences = [
        {
            "problem": f"p/{number // 3}",
            "trace": number % 3,
            "tokens": [str(number), "ü", "\n"],
            "step_ends": [0, 2],
            "scores": [0.5, 1.0] if number % 2 else None,
            "correct": [True, False, None][number % 3],
        }
        for number in range(9)
    ]
    old = write_manifest(write_old(tmp_path / "old", rows, sequences), len(rows))
    new = tmp_path / "new"
    write_act_rows(new, rows, [ActSequence(**one) for one in sequences])
    new = write_manifest(new, len(rows))
    assert read_act_rows(old) == read_act_rows(new) == rows
    assert old.problems == new.problems == ("p/0", "p/1", "p/2")
    assert old.rows.sequence_N.tolist() == new.rows.sequence_N.tolist()
    assert [vars_of(one) for one in old.sequences] == [vars_of(one) for one in new.sequences]
    assert [one.tokens for one in new.sequences] == [tuple(one["tokens"]) for one in sequences]
    numbers, places = np.array([8, 0, 3, -1]), np.array([0, 1, 2, 0])
    for store in (old, new):
        reader = store.sequences.text_reader()
        assert reader.read(numbers, places).tolist() == [0, 1, 2, -1]
        assert reader.texts == ["8", "ü", "\n"]
        assert [number for number, _ in store.sequences.chosen([8, 3, 3])] == [3, 8]
        assert store.sequences.lengths(numbers[:3]).tolist() == [3, 3, 3]
        assert all(not one.tokens and one.step_ends for one in store.sequences.without_texts())


def vars_of(sequence: ActSequence) -> dict[str, Any]:
    return {
        name: getattr(sequence, name)
        for name in ("problem", "trace", "tokens", "step_ends", "scores", "correct")
    }


def test_old_lines_without_the_later_fields_are_read(tmp_path: Path) -> None:
    fields = row()._asdict()
    for name in ("dataset", "in_window", "text_start"):
        del fields[name]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(fields) + "\n\n")
    table = OldRows(path, {}).table()
    assert as_rows(table) == [row(text_start=0)] and table.sequence_N.tolist() == [-1]


@pytest.mark.parametrize(
    ("field", "value", "wrong"),
    [
        ("trace", "3", "trace: Expected int, got str"),
        ("correct", "no", r"correct: Expected bool \| null, got str"),
        ("reward", [0.1], r"reward: Expected float \| null, got array"),
    ],
)
def test_a_wrong_field_of_an_old_line_is_named(
    tmp_path: Path, field: str, value: object, wrong: str
) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [row()._asdict(), row()._asdict() | {field: value}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadRecord, match=rf"rows\.jsonl line 2: {wrong}"):
        OldRows(path, {})


def test_new_files_take_the_place_of_old_ones(tmp_path: Path) -> None:
    old = write_old(tmp_path / "old", [row()], [])
    write_traces(old, [(as_table([row("q")]), ActSequence(problem="q", trace=3))])
    assert sorted(path.name for path in old.iterdir()) == ["rows.parquet", "sequences.parquet"]
    assert write_manifest(old, 1).problems == ("q",)
