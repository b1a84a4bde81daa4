"""Rows and sequences of a save-acts folder: any reader shows what was written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rewardscope.errors import BadRecord
from rewardscope.storage import row_files, sequence_files
from rewardscope.storage.row_files import ROWS, ParquetRows, RowWriter
from rewardscope.storage.rows import RIGHT, UNKNOWN, WRONG, RowReader, join_rows
from rewardscope.storage.sequence_files import ParquetSequences, SequenceWriter
from rewardscope.storage.sequences import ActSequence, Sequences
from tests.act_files import as_rows, as_table, read_act_rows, write_act_rows
from tests.unit.storage.row_folders import row, write_manifest

HOSTILE = ['a "π"\n', "d/\\x", 'p", "trace": 1', "\u2028{}", "", "𝒳"]


ROWS_OF_ALL_KINDS = [
    row('a "π"\n', dataset="d/\\x", reward=1e-7, in_window=False),
    row("p", is_step_end=False, reward=None, correct=True, step=-1),
    row("p", reward=0.0, correct=False, token=2**30, token_id=2**31 - 1),
    row('a "π"\n', reward=0.123, correct=None, dataset=""),
]


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
