from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from rewardscope.features.contexts import (
    Example,
    ShownFirings,
    TopPeaks,
    fill,
    of_shown,
    top_examples,
)
from rewardscope.features.firing import DataSet, FiringFile, encode_store
from rewardscope.sae.model.checkpoint import Sae
from tests.act_files import as_table
from tests.unit.features.firings import CPU, EVERY, N_FEATURES, data_set, dense
from tests.unit.sae.planted import make_rows


def examples_of(
    sae: Sae, data_sets: list[DataSet], folder: Path, *, n: int, before: int, after: int
) -> list[list[Example]]:
    """Return the contexts of every feature, as a page gathers them."""
    tops, files = [], []
    with ExitStack() as stack:
        for data in data_sets:
            top, file = TopPeaks(N_FEATURES, n), FiringFile(folder, data.store)
            for piece in stack.enter_context(file).keep(encode_store(sae, data.store, device=CPU)):
                top.add(piece.rows, of_shown(piece, EVERY))
            tops.append(top)
            files.append(file)
        found = top_examples(data_sets, tops, n_shown=N_FEATURES, n=n, before=before, after=after)
        for number, file in enumerate(files):
            fill(found, number, file.read(), EVERY)
    return found


def test_top_contexts_are_the_strongest_rows_of_different_traces(sae: Sae, tmp_path: Path) -> None:
    data_sets = [data_set(tmp_path / "a"), data_set(tmp_path / "b", seed=1)]
    tables = [dense(sae, data) for data in data_sets]
    shown = examples_of(sae, data_sets, tmp_path, n=5, before=4, after=2)
    for feature in range(N_FEATURES):
        best: dict[tuple[int, int], float] = {}
        for number, (table, data) in enumerate(zip(tables, data_sets, strict=True)):
            for value, sequence in zip(
                table[:, feature].tolist(), data.store.rows.sequence_N.tolist(), strict=True
            ):
                best[number, sequence] = max(best.get((number, sequence), 0.0), value)
        expected = sorted((value for value in best.values() if value > 0), reverse=True)[:5]
        found = shown[feature]
        assert [example.activations[example.position] for example in found] == pytest.approx(
            expected, rel=1e-5
        )
        assert len({(example.data_set, example.sequence) for example in found}) == len(found)


def test_of_equal_firings_the_first_rows_are_kept_however_the_rows_are_cut() -> None:
    rows = as_table(make_rows([["a"] * 4] * 6)[0], make_rows([["a"] * 4] * 6)[1])
    value_N = np.array([1, 2, 2, 0, 2, 2, 1, 1, 3, 0, 3, 1, 2, 2, 2, 2, 1, 0, 0, 0, 3, 3, 0, 2.0])
    # by hand: of each trace the first of its largest, then the largest of these, the first first
    expected = [8, 20, 1]
    for size in (1, 5, 24):
        top = TopPeaks(1, 3)
        for start in range(0, 24, size):
            part = rows.part(start, min(24, start + size))
            fires = np.flatnonzero(value_N[start : start + len(part)])
            values = value_N[start : start + len(part)][fires].astype(np.float32)
            top.add(part, ShownFirings(np.zeros(len(fires), dtype=np.int64), fires, values))
        assert top.peaks.row_M.tolist() == expected, size


def test_a_context_holds_every_activation_in_its_window_and_no_other(
    sae: Sae, tmp_path: Path
) -> None:
    data = data_set(tmp_path / "a")
    table, rows = dense(sae, data), data.store.rows
    lengths = [len(sequence.tokens) for sequence in data.store.sequences]
    for example in examples_of(sae, [data], tmp_path, n=20, before=4, after=2)[4]:
        assert (example.start, example.end) == (
            max(0, example.position - 4),
            min(lengths[example.sequence], example.position + 3),
        )
        expected = {
            token: table[row, 4]
            for row, (sequence, token) in enumerate(zip(rows.sequence_N, rows.token_N, strict=True))
            if sequence == example.sequence
            and example.start <= token < example.end
            and table[row, 4] > 0
        }
        assert example.activations == pytest.approx(expected, rel=1e-5)


def test_where_only_step_ends_were_captured_contexts_still_show_the_text_between(
    sae: Sae, tmp_path: Path
) -> None:
    data = data_set(tmp_path / "a", every_token=False)
    assert not data.every_token
    sequences = list(data.store.sequences)
    for example in examples_of(sae, [data], tmp_path, n=3, before=3, after=3)[2]:
        ends = sequences[example.sequence].step_ends
        assert example.position in ends
        assert set(example.activations) <= set(ends)
