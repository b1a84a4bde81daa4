"""Result tables, results and manifests: what does not fit is one line with file and field."""

import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.records import PatternBin, ProbeResult, TransferResult
from rewardscope.storage.files import write_json
from rewardscope.storage.manifests import read_manifest
from rewardscope.storage.tables import columns_of, read_csv_as, show_table, write_csv

KINDS = (ProbeResult, TransferResult, PatternBin, FeatureDiff)
EXAMPLES = {int: 3, float: 0.25, str: "m_toy", bool: True}


def example(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return a row with a value of the right type in each column."""
    hints = typing.get_type_hints(kind)
    return {name: EXAMPLES[_plain(hints[name])] for name in columns_of(kind)}


def _plain(hint: Any) -> type:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next(option for option in options if option is not type(None))


def columns(kind: type[msgspec.Struct], *wanted: type) -> list[str]:
    hints = typing.get_type_hints(kind)
    return [name for name in columns_of(kind) if _plain(hints[name]) in wanted]


def required(kind: type[msgspec.Struct]) -> list[str]:
    hints = typing.get_type_hints(kind)
    return [name for name in columns_of(kind) if not isinstance(hints[name], types.UnionType)]


def read(path: Path, kind: type[msgspec.Struct], rows: list[dict[str, Any]]) -> list[Any]:
    write_csv(path, rows, fields=list(dict.fromkeys(name for row in rows for name in row)))
    return read_csv_as(path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, kind: type[msgspec.Struct]) -> None:
    (row,) = read(tmp_path / "t.csv", kind, [example(kind)])
    assert row == kind(**example(kind))


Spoil = Callable[[dict[str, Any], str], dict[str, Any]]
WRONG: dict[str, tuple[tuple[type, ...], Spoil, str]] = {
    "a word for a number": ((int, float), lambda row, name: {**row, name: "many"}, "got str"),
    "a fraction for a count": ((int,), lambda row, name: {**row, name: "3.5"}, ""),
    "not a number": ((float,), lambda row, name: {**row, name: "nan"}, "nan is no number"),
    "infinite": ((float,), lambda row, name: {**row, name: "-inf"}, "-inf is no number"),
    "a word for yes or no": ((bool,), lambda row, name: {**row, name: "maybe"}, "got str"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_cell_is_told_with_file_line_and_column(
    tmp_path: Path, kind: type[msgspec.Struct], wrong: str
) -> None:
    wanted, spoil, message = WRONG[wrong]
    for name in columns(kind, *wanted):
        with pytest.raises(BadRecord) as told:
            read(tmp_path / "t.csv", kind, [example(kind), spoil(example(kind), name)])
        line = str(told.value)
        assert line.startswith(f"{tmp_path / 't.csv'} line 3: {name}: ") and message in line
        assert "\n" not in line


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_cell_is_an_unknown_value_only_where_one_may_be(
    tmp_path: Path, kind: type[msgspec.Struct]
) -> None:
    for name in columns_of(kind):
        rows = [{**example(kind), name: None}]
        if name in required(kind):
            with pytest.raises(BadRecord, match=rf"t\.csv line 2: {name}: "):
                read(tmp_path / "t.csv", kind, rows)
        else:
            assert getattr(read(tmp_path / "t.csv", kind, rows)[0], name) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_missing_or_not_known_is_named(
    tmp_path: Path, kind: type[msgspec.Struct]
) -> None:
    for name in required(kind):
        row = example(kind)
        del row[name]
        with pytest.raises(BadRecord, match=rf"t\.csv line 2: .*{name}"):
            read(tmp_path / "t.csv", kind, [row])
    with pytest.raises(BadRecord, match=r"t\.csv line 2: unknown field mood"):
        read(tmp_path / "t.csv", kind, [{**example(kind), "mood": "good"}])


def test_a_line_with_more_cells_or_fewer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    read(path, PatternBin, [example(PatternBin)])
    whole = path.read_text()
    path.write_text(whole.rstrip("\n") + ",9,9\n")
    with pytest.raises(BadRecord, match=r"t\.csv line 2: 2 cells more than columns"):
        read_csv_as(path, PatternBin)
    path.write_text(whole.rstrip("\n").rpartition(",")[0] + "\n")
    with pytest.raises(BadRecord, match=r"t\.csv line 2: n_problems"):
        read_csv_as(path, PatternBin)


def test_a_table_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"policy,window\n\xff\xfe,1\n")
    with pytest.raises(BadRecord, match=r"t\.csv line \d"):
        read_csv_as(path, PatternBin)
    with pytest.raises(MissingInput, match=r"other\.csv is not there"):
        read_csv_as(tmp_path / "other.csv", PatternBin)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stage", 3),
        ("rows", "many"),
        ("settings", []),
        ("inputs", {"policy": "org/m"}),
        ("inputs", {"policy": {"source": 3}}),
        ("outputs", {"rows.parquet": None}),
        ("skipped", {"too long": "2"}),
        ("extra", None),
    ],
)
def test_a_wrong_field_of_a_manifest_is_one_line_with_file_and_field(
    tmp_path: Path, field: str, value: Any
) -> None:
    path = tmp_path / "manifest.json"
    write_json(path, {"stage": "save-acts", field: value})
    with pytest.raises(BadRecord) as told:
        read_manifest(tmp_path)
    assert str(told.value).startswith(f"{path} is torn or no manifest (Expected ")
    assert f"$.{field}" in str(told.value) and "\n" not in str(told.value)


def test_a_table_wider_than_the_page_goes_on_below_with_its_first_columns() -> None:
    header = ["layer", "of", *(f"measure {number}" for number in range(9))]
    rows = [[layer, "all", *(f"{layer}.{number:05d}" for number in range(9))] for layer in (1, 20)]
    text = show_table(header, rows, keys=2)
    assert max(map(len, text.split("\n"))) <= 100
    parts = [part.split("\n") for part in text.split("\n\n")]
    assert len(parts) == 2 and all(part[0].startswith("layer  of") for part in parts)
    assert [line.split()[:2] for line in parts[1][2:]] == [["1", "all"], ["20", "all"]]
    for row in rows:
        assert all(str(cell) in text for cell in row)


def test_a_table_that_fits_is_one_and_a_long_cell_is_never_cut() -> None:
    assert show_table(["a", "b"], [[1, "x"]]) == "a  b\n-  -\n1  x"
    assert f"{'p' * 150}" in show_table(["a", "path"], [[1, "p" * 150]])
