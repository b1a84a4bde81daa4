from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.errors import BadRecord
from rewardscope.features.categories import CATEGORIES
from rewardscope.features.contexts import (
    Example,
    ShownFirings,
    TopPeaks,
    fill,
    of_shown,
    top_examples,
)
from rewardscope.features.examples import (
    Contrast,
    Histograms,
    StepEndSums,
    TextMass,
    add_steps,
    contrast,
    step_counts,
    top_texts,
)
from rewardscope.features.firing import (
    DataSet,
    FiringFile,
    RowTexts,
    encode_store,
    open_data_set,
    sum_firings,
)
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.acts import ActStore
from rewardscope.storage.rows import RIGHT, RowTable
from tests.act_files import as_table, read_act_rows
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


EVERY = np.arange(N_FEATURES)


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


def test_texts_are_ranked_by_their_share_of_the_activation(sae: Sae, tmp_path: Path) -> None:
    data = data_set(tmp_path / "a")
    table, sequences = dense(sae, data), list(data.store.sequences)
    shares: dict[str, float] = {}
    rows = data.store.rows
    for row, (sequence, token) in enumerate(zip(rows.sequence_N, rows.token_N, strict=True)):
        text = sequences[sequence].tokens[token]
        shares[text] = shares.get(text, 0.0) + table[row, 1] / table[:, 1].sum()
    expected = sorted(
        (entry for entry in shares.items() if entry[1] > 0), key=lambda entry: -entry[1]
    )[:3]
    mass, reader = TextMass(), RowTexts(data)
    for piece in encode_store(sae, data.store, device=CPU):
        mass.add(of_shown(piece, EVERY), reader.read(piece.rows)[0])
    found = top_texts(1, [mass], [reader.texts], total=float(table[:, 1].sum()), n=3)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [share for _, share in found] == pytest.approx(
        [share for _, share in expected], rel=1e-4
    )


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


def test_histogram_and_step_counts() -> None:
    values = np.random.default_rng(0).random(500).astype(np.float32) ** 3
    place = np.arange(500) % 2
    histograms = Histograms(np.array([values[place == one].max() for one in (0, 1)]))
    for half in np.array_split(np.arange(500), 2):
        histograms.add(ShownFirings(place[half], half, values[half]))
    for one in (0, 1):
        mine = values[place == one]
        expected = np.histogram(mine, bins=24, range=(0.0, float(mine.max())))[0]
        assert histograms.count_TH[one].tolist() == expected.tolist()
    step_N = np.array([-1, 0, 0, 3, 15, 99])
    assert step_counts(step_N).tolist() == [2, 0, 0, 1, *[0] * 11, 2]
    counts = np.zeros((1, 16), dtype=np.int64)
    add_steps(counts, ShownFirings(np.zeros(6, dtype=np.int64), np.arange(6), np.ones(6)), step_N)
    assert counts[0].tolist() == [2, 0, 0, 1, *[0] * 11, 2]


def planted_rewards(*, n_problems: int, lift: float, seed: int) -> tuple[RowTable, np.ndarray]:
    """Return step ends whose score is higher by `lift` where feature 0 fires, which it does in half
    of them, and whether it does.
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
    return as_table(scored, sequences), fires


def contrast_of(
    table: RowTable, fires_N: np.ndarray, value_N: np.ndarray, *, place: int
) -> Contrast:
    """Return the contrast of a feature, 0 or 1, of which 0 fires; the rows come in two parts."""
    sums = StepEndSums(2, len(table.problems))
    for start, stop in ((0, 10), (10, len(table))):
        rows = np.flatnonzero(fires_N[start:stop])
        firings = ShownFirings(np.zeros(len(rows), dtype=np.int64), rows, np.ones(len(rows)))
        part = table.part(start, stop)
        sums.add(firings, value_N[start:stop], part.step_end_N, part.problem_N)
    return contrast(sums.of(place))


def test_the_reward_contrast_is_the_difference_of_means_with_an_interval_that_covers() -> None:
    covered = 0
    for seed in range(40):
        table, fires_N = planted_rewards(n_problems=30, lift=0.2, seed=seed)
        found = contrast_of(table, fires_N, table.reward_N, place=0)
        difference = table.reward_N[fires_N].mean() - table.reward_N[~fires_N].mean()
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
    table, fires_N = planted_rewards(n_problems=5, lift=0.2, seed=0)
    found = contrast_of(table, fires_N, table.reward_N, place=0)
    assert found.difference is None
    assert found.fires is not None and found.elsewhere is not None
    silent = contrast_of(table, fires_N, table.reward_N, place=1)
    assert (silent.fires, silent.difference, silent.n_fires) == (None, None, 0)


def test_right_traces_are_counted_over_the_step_ends_whose_grade_is_known() -> None:
    table, fires_N = planted_rewards(n_problems=30, lift=0.0, seed=3)
    right_N = (table.correct_N == RIGHT).astype(float)
    found = contrast_of(table, fires_N, right_N, place=0)
    # every other problem is right by construction
    expected = np.array([int(problem.split("/")[1]) % 2 == 0 for problem in table.problems])
    assert found.fires == pytest.approx(expected[table.problem_N][fires_N].mean())
