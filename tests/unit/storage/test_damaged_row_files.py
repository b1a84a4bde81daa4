"""What is wrong with the rows of a save-acts folder is named in one line."""

from pathlib import Path

import pandas as pd
import pytest

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.storage.acts import write_traces
from rewardscope.storage.row_files import ROWS, ParquetRows
from rewardscope.storage.sequence_files import OldSequences
from rewardscope.storage.sequences import ActSequence
from tests.act_files import as_rows, as_table, write_act_rows
from tests.unit.storage.row_folders import row, write_manifest, write_old


@pytest.mark.parametrize("where", ["problem", "token"])
def test_half_of_a_surrogate_pair_is_refused_and_nothing_is_left_behind(
    tmp_path: Path, where: str
) -> None:
    problem, token = ("\ud800", "a") if where == "problem" else ("p", "\ud800")
    sequence = ActSequence(problem=problem, trace=3, tokens=(token,))
    with pytest.raises(BadRecord, match=r"the text '\\ud800' holds half of a surrogate pair"):
        write_traces(tmp_path, [(as_table([row(problem)]), sequence)])
    assert not list(tmp_path.iterdir())


def test_any_flipped_byte_of_a_file_is_named_or_does_no_harm(tmp_path: Path) -> None:
    write_act_rows(tmp_path, [row(token=number) for number in range(30)], [])
    path, named = tmp_path / ROWS, 0
    whole = path.read_bytes()
    expected = as_rows(ParquetRows(path).table())
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            read = as_rows(ParquetRows(path).table())
        except BadRecord as error:
            named += str(path) in str(error) and "\n" not in str(error)
        else:
            assert read == expected, position
    assert named > len(whole) / 7 / 2


def test_a_torn_or_missing_file_or_one_of_other_columns_is_named(tmp_path: Path) -> None:
    write_act_rows(tmp_path, [row()], [])
    path = tmp_path / ROWS
    whole = path.read_bytes()
    for size in (0, 10, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(BadRecord, match=r"rows\.parquet is damaged .* re-run invoke save-acts"):
            ParquetRows(path)
    pd.DataFrame({"problem": ["p"]}).to_parquet(path)
    with pytest.raises(BadRecord, match=r"rows\.parquet: column problem is .*string, not dict"):
        ParquetRows(path)
    path.unlink()
    with pytest.raises(MissingInput, match=r"rows\.parquet is not there; re-run invoke save-acts"):
        ParquetRows(path)
    (tmp_path / "sequences.jsonl").write_text('{"problem": "p", "trace": 0, "tokens": [1]}\n')
    with pytest.raises(BadRecord, match=r"sequence 1: tokens.*: Expected str, got int"):
        OldSequences(tmp_path / "sequences.jsonl").read(0)


def test_rows_that_do_not_fit_the_manifest_are_refused(tmp_path: Path) -> None:
    write_act_rows(tmp_path, [row()] * 5, [])
    with pytest.raises(BadRecord, match=r"rows\.parquet has 5 rows, its manifest says 6"):
        _ = write_manifest(tmp_path, 6).rows
    old = write_old(tmp_path / "old", [row()] * 5, [])
    with pytest.raises(BadRecord, match=r"rows\.jsonl has 5 rows, its manifest says 6"):
        _ = write_manifest(old, 6).rows


@pytest.mark.parametrize(
    ("field", "value", "wrong"),
    [
        ("width", "8", r"extra\.width: Expected int, got str"),
        ("layers", [0, "1"], r"extra\.layers.*: Expected int, got str"),
        ("mode", "xm", r"extra\.mode: Invalid enum value 'xm'"),
    ],
)
def test_a_wrong_field_of_the_manifest_is_named(
    tmp_path: Path, field: str, value: object, wrong: str
) -> None:
    with pytest.raises(BadRecord, match=rf"manifest\.json: {wrong}"):
        write_manifest(tmp_path, 0, **{field: value})
