import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from rewardscope.errors import BadRecord
from rewardscope.features.categories import CATEGORIES
from rewardscope.features.firing import (
    FiringFile,
    RowTexts,
    encode_store,
    open_data_set,
    sum_firings,
)
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.acts import ActStore
from tests.act_files import read_act_rows
from tests.unit.features.firings import CPU, N_FEATURES, WIDTH, data_set, dense, texts
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts


def test_sums_are_those_of_the_dense_table(sae: Sae, tmp_path: Path) -> None:
    data = data_set(tmp_path / "a")
    table, rows = dense(sae, data), read_act_rows(data.store)
    found = sum_firings(data, encode_store(sae, data.store, device=CPU), n_features=N_FEATURES)
    assert found.n_rows == len(rows)
    assert found.rate_F == pytest.approx((table > 0).mean(axis=0))
    assert found.mean_F == pytest.approx(table.mean(axis=0), rel=1e-5)
    assert found.max_F == pytest.approx(table.max(axis=0), rel=1e-5)
    for code, problem in enumerate(found.problems):
        mask = np.array([row.problem == problem for row in rows])
        assert found.count_PF[code].tolist() == (table[mask] > 0).sum(axis=0).tolist()
        assert found.rows_P[code] == mask.sum()
    tags = np.array([row.is_step_end for row in rows])
    assert found.mass_CF[CATEGORIES.index("step_tag")] == pytest.approx(
        table[tags].sum(axis=0), rel=1e-5
    )
    assert found.mass_CF.sum(axis=0) == pytest.approx(table.sum(axis=0), rel=1e-5)


def test_a_store_of_another_width_is_refused(sae: Sae, tmp_path: Path) -> None:
    rows, sequences = make_rows(texts(2))
    store = ActStore(
        write_acts(tmp_path / "a", Acts({0: torch.randn(len(rows), 5)}, rows, sequences))
    )
    with pytest.raises(BadRecord, match=r"has width 8, the activations of .* have 5"):
        next(encode_store(sae, store, device=CPU))


def test_a_row_without_a_sequence_is_named(tmp_path: Path) -> None:
    rows, sequences = make_rows(texts(2), problems=["p/0", "p/1"])
    acts = Acts({0: torch.zeros(len(rows), WIDTH)}, rows, sequences[:1])
    store = ActStore(write_acts(tmp_path / "a", acts))
    with pytest.raises(BadRecord, match="no sequence for trace 0 of p/1"):
        open_data_set("a", store)


def test_firings_come_back_from_their_file_as_they_were(sae: Sae, tmp_path: Path) -> None:
    data = data_set(tmp_path / "a")
    with FiringFile(tmp_path / "scratch", data.store) as file:
        kept = list(file.keep(encode_store(sae, data.store, device=CPU)))
        for _ in range(2):
            for old, new in zip(kept, file.read(), strict=True):
                assert np.array_equal(old.rows.token_N, new.rows.token_N)
                assert all(map(np.array_equal, old[1:], new[1:]))
    assert not list((tmp_path / "scratch").iterdir())  # it has no name that could be left behind


def texts_of_rows(folder: Path, *, every_token: bool) -> list[tuple[str, str]]:
    """Return text and category of each row of two traces."""
    rows, sequences = make_rows(
        [["Wait", "\n", STEP_TAG], ["7", STEP_TAG]], every_token=every_token
    )
    acts = Acts({0: torch.zeros(len(rows), WIDTH)}, rows, sequences)
    data = open_data_set("a", ActStore(write_acts(folder, acts)))
    reader = RowTexts(data)
    text_N, category_N = reader.read(data.store.rows)
    return [(reader.texts[t], CATEGORIES[c]) for t, c in zip(text_N, category_N, strict=True)]


def test_with_every_token_a_step_end_is_a_step_tag(tmp_path: Path) -> None:
    assert texts_of_rows(tmp_path / "a", every_token=True) == [
        ("Wait", "word"),
        ("\n", "whitespace"),
        (STEP_TAG, "step_tag"),
        ("7", "digit"),
        (STEP_TAG, "step_tag"),
    ]


def test_with_step_ends_only_a_row_stands_for_the_token_before_its_tag(tmp_path: Path) -> None:
    assert texts_of_rows(tmp_path / "a", every_token=False) == [
        ("\n", "whitespace"),
        ("7", "digit"),
    ]


@pytest.mark.parametrize("every_token", [True, False])
@pytest.mark.parametrize(
    ("mode", "last"),
    [("lm", (".", ".")), ("lm", (".", "]]")), ("rm", (".", "]]"))],
    ids=["a policy, one kind of end", "a policy", "a PRM without tags"],
)
def test_without_tags_a_step_end_stands_for_itself(
    tmp_path: Path, mode: str, last: tuple[str, str], every_token: bool
) -> None:
    rows, sequences = make_rows([["Wait", last[0]], ["7", last[1]]])
    rows = [row._replace(is_step_end=row.token == 1) for row in rows]
    rows = [row for row in rows if every_token or row.is_step_end]
    sequences = [msgspec.structs.replace(one, step_ends=(1,), scores=(0.5,)) for one in sequences]
    folder = write_acts(tmp_path / "a", Acts({0: torch.zeros(len(rows), WIDTH)}, rows, sequences))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["extra"]["mode"] = mode
    (folder / "manifest.json").write_text(json.dumps(manifest))
    data = open_data_set("a", ActStore(folder))
    reader = RowTexts(data)
    text_N, category_N = reader.read(data.store.rows)
    found = [(reader.texts[t], CATEGORIES[c]) for t, c in zip(text_N, category_N, strict=True)]
    ends = [(text, "punctuation") for text in last]
    assert [pair for pair in found if pair[0] in last] == ends
    assert len(found) == (4 if every_token else 2)
