from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from rewardscope.errors import BadRecord
from rewardscope.features.categories import CATEGORIES, row_texts
from rewardscope.features.examples import (
    activation_histogram,
    by_feature,
    contrast,
    step_counts,
    step_rewards,
    step_rights,
    top_examples,
    top_texts,
)
from rewardscope.features.firing import DataSet, Firings, encode_store, open_data_set, sum_firings
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.rows import row_table
from rewardscope.storage.shards import ActStore
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts

CPU = torch.device("cpu")
N_FEATURES, WIDTH, K = 12, 8, 3


@pytest.fixture
def sae() -> Sae:
    random = torch.Generator().manual_seed(0)
    return Sae(
        W_enc_DF=torch.randn(WIDTH, N_FEATURES, generator=random),
        b_enc_F=torch.randn(N_FEATURES, generator=random) - 1,
        W_dec_FD=torch.randn(N_FEATURES, WIDTH, generator=random),
        b_dec_D=torch.randn(WIDTH, generator=random),
        k=K,
        layer=0,
        info={},
    )


def texts(n: int) -> list[list[str]]:
    rng = np.random.default_rng(0)
    words = ["Wait", " 7", "\n", ".", "=", STEP_TAG]
    return [[*rng.choice(words, size=rng.integers(6, 14)).tolist(), STEP_TAG] for _ in range(n)]


def data_set(folder: Path, *, n: int = 12, seed: int = 0, every_token: bool = True) -> DataSet:
    rng = np.random.default_rng(seed)
    rows, sequences = make_rows(
        texts(n),
        problems=[f"p/{i // 2}" for i in range(n)],
        correct=[bool(b) for b in rng.random(n) < 0.5],
        every_token=every_token,
    )
    acts = {0: torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(seed))}
    return open_data_set(
        folder.name, ActStore(write_acts(folder, Acts(acts, rows, sequences), shard_rows=17))
    )


def dense(sae: Sae, data: DataSet) -> np.ndarray:
    """All codes as one dense table [rows, features], by sorting."""
    x_ND = data.store.layer(0).numpy()
    pre_NF = (x_ND - sae.b_dec_D.numpy()) @ sae.W_enc_DF.numpy() + sae.b_enc_F.numpy()
    table = np.zeros_like(pre_NF)
    for row, pre_F in enumerate(pre_NF):
        best = np.argsort(-pre_F)[:K]
        table[row, best] = np.maximum(pre_F[best], 0)
    return table


def test_sums_are_those_of_the_dense_table(sae: Sae, tmp_path: Path) -> None:
    data = data_set(tmp_path / "a")
    table = dense(sae, data)
    rows = data.store.rows()
    firings = encode_store(sae, data.store, device=CPU)
    found = sum_firings(firings, data.rows.problems, data.rows.problem_N, data.texts.category_N)
    assert (firings.n_rows, found.n_rows) == (len(rows), len(rows))
    assert found.rate_F == pytest.approx((table > 0).mean(axis=0))
    assert found.mean_F == pytest.approx(table.mean(axis=0), rel=1e-5)
    assert found.max_F == pytest.approx(table.max(axis=0), rel=1e-5)
    for code, problem in enumerate(data.rows.problems):
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
        encode_store(sae, store, device=CPU)


def test_top_contexts_are_the_strongest_rows_of_different_traces(sae: Sae, tmp_path: Path) -> None:
    data_sets = [data_set(tmp_path / "a"), data_set(tmp_path / "b", seed=1)]
    tables = [dense(sae, data) for data in data_sets]
    split = [
        by_feature(encode_store(sae, data.store, device=CPU), np.arange(N_FEATURES))
        for data in data_sets
    ]
    for feature in range(N_FEATURES):
        best: dict[tuple[int, int], float] = {}
        for number, (table, data) in enumerate(zip(tables, data_sets, strict=True)):
            for value, sequence in zip(
                table[:, feature].tolist(), data.rows.sequence_N.tolist(), strict=True
            ):
                best[number, sequence] = max(best.get((number, sequence), 0.0), value)
        expected = sorted((value for value in best.values() if value > 0), reverse=True)[:5]
        found = top_examples([part[feature] for part in split], data_sets, n=5, before=4, after=2)
        assert [example.activations[example.position] for example in found] == pytest.approx(
            expected, rel=1e-5
        )
        assert len({(example.data_set, example.sequence) for example in found}) == len(found)


def test_a_context_holds_every_activation_in_its_window_and_no_other(
    sae: Sae, tmp_path: Path
) -> None:
    data = data_set(tmp_path / "a")
    table = dense(sae, data)
    part = by_feature(encode_store(sae, data.store, device=CPU), np.array([4]))
    for example in top_examples(part, [data], n=20, before=4, after=2):
        length = len(data.sequences[example.sequence]["tokens"])
        assert (example.start, example.end) == (
            max(0, example.position - 4),
            min(length, example.position + 3),
        )
        expected = {
            token: table[row, 4]
            for row, (sequence, token) in enumerate(
                zip(data.rows.sequence_N, data.rows.token_N, strict=True)
            )
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
    part = by_feature(encode_store(sae, data.store, device=CPU), np.array([2]))
    for example in top_examples(part, [data], n=3, before=3, after=3):
        ends = data.sequences[example.sequence]["step_ends"]
        assert example.position in ends
        assert set(example.activations) <= set(ends)


def test_texts_are_ranked_by_their_share_of_the_activation(sae: Sae, tmp_path: Path) -> None:
    data = data_set(tmp_path / "a")
    table = dense(sae, data)
    shares: dict[str, float] = {}
    for row, (sequence, token) in enumerate(
        zip(data.rows.sequence_N, data.rows.token_N, strict=True)
    ):
        text = data.sequences[sequence]["tokens"][token]
        shares[text] = shares.get(text, 0.0) + table[row, 1] / table[:, 1].sum()
    expected = sorted(
        (entry for entry in shares.items() if entry[1] > 0), key=lambda entry: -entry[1]
    )[:3]
    found = top_texts(
        by_feature(encode_store(sae, data.store, device=CPU), np.array([1])), [data], n=3
    )
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [share for _, share in found] == pytest.approx(
        [share for _, share in expected], rel=1e-4
    )


def test_histogram_and_step_counts() -> None:
    counts = activation_histogram(np.array([0.01, 0.5, 0.99, 1.0]))
    assert (counts[0], counts[12], counts[-1], counts.sum()) == (1, 1, 2, 4)
    assert step_counts(np.array([-1, 0, 0, 3, 15, 99])).tolist() == [2, 0, 0, 1, *[0] * 11, 2]


def planted_rewards(*, n_problems: int, lift: float, seed: int) -> tuple[DataSet, Firings]:
    """Return step ends whose score is higher by `lift` where feature 0 fires, which it does in half
    of them.
    """
    rng = np.random.default_rng(seed)
    n_steps = 6
    rows, sequences = make_rows(
        [["a", STEP_TAG] * n_steps] * n_problems,
        every_token=False,
        correct=[i % 2 == 0 for i in range(n_problems)],
    )
    fires = rng.random(len(rows)) < 0.5
    problem_effect = np.repeat(rng.normal(0, 0.2, size=n_problems), n_steps)
    scores = 0.3 + lift * fires + problem_effect + rng.normal(0, 0.1, size=len(rows))
    scored = [row._replace(reward=float(score)) for row, score in zip(rows, scores, strict=True)]
    table = row_table(scored, sequences, where="x")
    texts = row_texts(
        [s["tokens"] for s in sequences],
        table.sequence_N,
        table.token_N,
        table.step_end_N,
        every_token=False,
    )
    data = DataSet("x", cast(ActStore, None), table, sequences, texts, False)
    row_E = np.flatnonzero(fires)
    return data, Firings(
        len(rows),
        2,
        row_E,
        np.zeros(len(row_E), dtype=np.int32),
        np.ones(len(row_E), dtype=np.float32),
    )


def test_the_reward_contrast_is_the_difference_of_means_with_an_interval_that_covers() -> None:
    covered = 0
    for seed in range(40):
        data, firings = planted_rewards(n_problems=30, lift=0.2, seed=seed)
        found = contrast(by_feature(firings, np.array([0])), step_rewards([data]))
        fires_N = np.zeros(len(data.rows), dtype=bool)
        fires_N[firings.row_E] = True
        difference = data.rows.reward_N[fires_N].mean() - data.rows.reward_N[~fires_N].mean()
        assert found.difference is not None
        assert found.difference.value == pytest.approx(float(difference), rel=1e-4)
        assert (found.n_fires, found.n_elsewhere, found.difference.n) == (
            fires_N.sum(),
            (~fires_N).sum(),
            30,
        )
        covered += found.difference.low <= 0.2 <= found.difference.high
    assert covered >= 34  # 95 % of 40 is 38, its binomial deviation 1.4


def test_a_contrast_of_few_problems_has_means_but_no_interval() -> None:
    data, firings = planted_rewards(n_problems=5, lift=0.2, seed=0)
    found = contrast(by_feature(firings, np.array([0])), step_rewards([data]))
    assert found.difference is None
    assert found.fires is not None and found.elsewhere is not None
    silent = contrast(by_feature(firings, np.array([1])), step_rewards([data]))
    assert (silent.fires, silent.difference, silent.n_fires) == (None, None, 0)


def test_right_traces_are_counted_over_the_step_ends_whose_grade_is_known() -> None:
    data, firings = planted_rewards(n_problems=30, lift=0.0, seed=3)
    found = contrast(by_feature(firings, np.array([0])), step_rights([data]))
    right = np.array([int(problem.split("/")[1]) % 2 == 0 for problem in data.rows.problems])[
        data.rows.problem_N
    ]
    assert found.fires == pytest.approx(right[firings.row_E].mean())
