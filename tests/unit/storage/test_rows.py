"""Rows and sequences of a save-acts folder: what is written is what any reader shows, and what
older folders hold is read alike.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.storage import row_files, sequence_files
from rewardscope.storage.acts import ActStore, write_traces
from rewardscope.storage.row_files import ROWS, OldRows, ParquetRows, RowWriter
from rewardscope.storage.rows import RIGHT, UNKNOWN, WRONG, RowReader, join_rows
from rewardscope.storage.sequence_files import OldSequences, ParquetSequences, SequenceWriter
from rewardscope.storage.sequences import ActSequence, Sequences
from tests.act_files import ActRow, as_rows, as_table, read_act_rows, write_act_rows

HOSTILE = ['a "π"\n', "d/\\x", 'p", "trace": 1', "\u2028{}", "", "𝒳"]


def row(problem: str = "p/0", **fields: Any) -> ActRow:
    place = {"trace": 3, "step": 1, "token": 7, "token_id": 12, "text_start": 40}
    known = {"is_step_end": True, "reward": 0.1, "correct": None}
    return ActRow(problem=problem, **{**place, **known, **fields})


ROWS_OF_ALL_KINDS = [
    row('a "π"\n', dataset="d/\\x", reward=1e-7, in_window=False),
    row("p", is_step_end=False, reward=None, correct=True, step=-1),
    row("p", reward=0.0, correct=False, token=2**30, token_id=2**31 - 1),
    row('a "π"\n', reward=0.123, correct=None, dataset=""),
]


def write_old(folder: Path, rows: list[ActRow], sequences: list[dict]) -> Path:
    """Write the files of older versions: a JSON object a line."""
    folder.mkdir()
    for name, lines in (
        ("rows.jsonl", [one._asdict() for one in rows]),
        ("sequences.jsonl", sequences),
    ):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def write_manifest(folder: Path, n_rows: int, **extra: Any) -> ActStore:
    manifest = {
        "stage": "save-acts",
        "settings": {},
        "outputs": {},
        "rows": n_rows,
        "extra": {"layers": [0], "width": 1, **extra},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return ActStore(folder)


def test_rows_of_all_kinds_survive_a_round_trip(tmp_path: Path) -> None:
    write_act_rows(tmp_path, ROWS_OF_ALL_KINDS, [])
    file = ParquetRows(tmp_path / ROWS)
    assert as_rows(file.table()) == ROWS_OF_ALL_KINDS
    assert file.problems == ('a "π"\n', "p") and file.datasets == ("d/\\x", "")
    table = file.table()
    assert table.correct_N.tolist() == [UNKNOWN, RIGHT, WRONG, UNKNOWN]
    assert (table.reward_N.tolist(), table.has_reward_N.tolist()) == (
        [1e-7, 0.0, 0.0, 0.123],
        [True, False, True, True],
    )


def test_pandas_reads_plain_names_and_types(tmp_path: Path) -> None:
    write_act_rows(tmp_path, ROWS_OF_ALL_KINDS, [])
    frame = pd.read_parquet(tmp_path / ROWS)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "problem": "category",
        "dataset": "category",
        "trace": "int32",
        "step": "int32",
        "token": "int32",
        "token_id": "int32",
        "is_step_end": "bool",
        "reward": "float64",
        "correct": "object",
        "in_window": "bool",
        "text_start": "int32",
        "sequence": "int32",
    }
    for number, one in enumerate(ROWS_OF_ALL_KINDS):
        found = frame.iloc[number].to_dict()
        found["reward"] = None if np.isnan(found["reward"]) else found["reward"]
        assert {name: found[name] for name in one._fields} == one._asdict()
    nullable = pd.read_parquet(tmp_path / ROWS, dtype_backend="numpy_nullable")
    assert str(nullable.dtypes["correct"]) == "boolean"
    assert nullable["correct"].isna().tolist() == [True, False, False, True]


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


def test_rows_are_streamed_by_row_group_and_cut_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_files, "GROUP_ROWS", 7)
    rows = [row(f"p/{number // 5}", token=number) for number in range(40)]
    with RowWriter(tmp_path / ROWS) as out:
        for start in range(0, 40, 4):
            out.add(as_table(rows[start : start + 4]))
    with pq.ParquetFile(tmp_path / ROWS) as written:
        groups = range(written.num_row_groups)
        sizes = [written.metadata.row_group(group).num_rows for group in groups]
    assert sizes == [7, 7, 7, 7, 7, 5]
    file = ParquetRows(tmp_path / ROWS)
    assert [len(table) for table in file.groups()] == sizes
    assert [one for table in file.groups() for one in as_rows(table)] == rows
    for cuts in ([1] * 40, [13, 0, 20, 7], [40]):
        reader = RowReader(file.groups(), where="x")
        taken = [reader.take(cut) for cut in cuts]
        assert [one for table in taken for one in as_rows(table)] == rows
        assert all(table.problems is file.problems for table in taken if len(table) < 40)
    with pytest.raises(BadRecord, match="the shards hold more rows than are described"):
        RowReader(file.groups(), where="x").take(41)


def test_a_column_is_read_when_it_is_asked_for_and_once() -> None:
    whole, asked = as_table([row(token=number) for number in range(5)]), []

    def read(name: str) -> np.ndarray:
        asked.append(name)
        return whole.column(name)

    table = type(whole)(5, read, problems=whole.problems, datasets=whole.datasets)
    part = table.part(1, 4)
    assert not asked
    assert part.token_N.tolist() == [1, 2, 3] and part.token_N.tolist() == [1, 2, 3]
    assert table.token_N.tolist() == [0, 1, 2, 3, 4] and asked == ["token"]


def test_joined_tables_count_in_one_list_of_problems() -> None:
    one, other = (as_table([row("b"), row("a", dataset="x")]), as_table([row("c"), row("a")]))
    joined = join_rows([one, other])
    assert joined.problems == ("b", "a", "c") and joined.problem_N.tolist() == [0, 1, 2, 1]
    assert joined.datasets == ("", "x") and joined.dataset_N.tolist() == [0, 1, 0, 0]


def test_hostile_ids_and_texts_survive(tmp_path: Path) -> None:
    rows = [row(problem, dataset=problem) for problem in HOSTILE]
    sequences = [
        ActSequence(problem=problem, trace=3, tokens=tuple(HOSTILE), step_ends=(1,))
        for problem in HOSTILE
    ]
    write_act_rows(tmp_path, rows, sequences)
    store = write_manifest(tmp_path, len(rows))
    assert read_act_rows(store) == rows and list(store.sequences) == sequences
    frame = pd.read_parquet(tmp_path / "sequences.parquet")
    assert [list(tokens) for tokens in frame["tokens"]] == [HOSTILE] * len(HOSTILE)


@pytest.mark.parametrize("where", ["problem", "token"])
def test_half_of_a_surrogate_pair_is_refused_and_nothing_is_left_behind(
    tmp_path: Path, where: str
) -> None:
    problem, token = ("\ud800", "a") if where == "problem" else ("p", "\ud800")
    sequence = ActSequence(problem=problem, trace=3, tokens=(token,))
    with pytest.raises(BadRecord, match=r"the text '\\ud800' holds half of a surrogate pair"):
        write_traces(tmp_path, [(as_table([row(problem)]), sequence)])
    assert not list(tmp_path.iterdir())


def test_sequences_of_many_groups_are_read_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence_files, "GROUP_TOKENS", 10)
    made = [
        ActSequence(problem="p", trace=number, tokens=tuple(f"{number}.{i}" for i in range(4)))
        for number in range(20)
    ]
    with SequenceWriter(tmp_path / "s.parquet") as out:
        for one in made:
            out.add(one)
    file = ParquetSequences(tmp_path / "s.parquet")
    assert len(file.starts_G) - 1 == 7  # 12 tokens each, the last one 8
    sequences = Sequences(file)
    assert len(sequences) == 20 and list(sequences) == made
    assert list(sequences.chosen([19, 2, 7])) == [(2, made[2]), (7, made[7]), (19, made[19])]
    number_N = np.array([5, 5, 19, 0, 5])
    reader = sequences.text_reader()
    assert reader.read(number_N, np.array([3, 0, 1, 2, 3])).tolist() == [0, 1, 2, 3, 0]
    assert reader.texts == ["5.3", "5.0", "19.1", "0.2"]
    with pytest.raises(BadRecord, match="a token that its sequence does not have"):
        reader.read(np.array([5]), np.array([4]))


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


def test_new_files_take_the_place_of_old_ones(tmp_path: Path) -> None:
    old = write_old(tmp_path / "old", [row()], [])
    write_traces(old, [(as_table([row("q")]), ActSequence(problem="q", trace=3))])
    assert sorted(path.name for path in old.iterdir()) == ["rows.parquet", "sequences.parquet"]
    assert write_manifest(old, 1).problems == ("q",)


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
