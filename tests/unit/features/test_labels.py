"""Rules of labels, and what a feature is assigned to, against counts by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.features.firing import encode_store
from rewardscope.features.label_rules import LABELS
from rewardscope.features.labels import assign, assign_top, label_codes, sum_labels
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.statistics.shares import shares_of_sums
from tests.unit.features.firings import CPU, N_FEATURES, data_set, dense


def labels(tokens: list[str]) -> list[str]:
    return [LABELS[code] for code in label_codes(tokens)]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["Wait", ",", " so"], ["metacognition", "punctuation", "other"]),
        (["Let", " me", " check", "\n\n"], ["metacognition"] * 3 + ["whitespace"]),
        (["Let", " us", " go"], ["other"] * 3),
        (["await", " waiting"], ["other"] * 2),
        ([" H", "mm", "."], ["metacognition"] * 2 + ["punctuation"]),
        (["The", " answer", " is", " 12", "."], ["answer_frame"] * 3 + ["number", "punctuation"]),
        (["\\", "boxed", "{", "7", "}"], ["answer_frame"] * 3 + ["number", "latex"]),
        (["##", "##", " 5"], ["answer_frame"] * 2 + ["number"]),
        (["\\", "frac", "{", "1", "}"], ["latex"] * 3 + ["number", "latex"]),
        (["$", "x", "^", "2", "$"], ["latex", "other", "latex", "number", "latex"]),
        ([" the", " fra", "ctions"], ["other", "maths_word", "maths_word"]),
        ([" =", " +", "≤", "→", "\ufffd"], ["number"] * 3 + ["unicode"] * 2),
        (["<think>", "<|im_end|>", "\n"], ["special", "special", "whitespace"]),
        (["wa", "it"], ["metacognition"] * 2),
    ],
)
def test_each_token_has_the_label_of_its_kind_or_of_the_phrase_that_touches_it(
    tokens: list[str], expected: list[str]
) -> None:
    assert labels(tokens) == expected


def test_a_token_at_a_tag_is_special_whatever_its_text() -> None:
    assert LABELS[label_codes(["wait", " ки"], tags=[1])[1]] == "special"


def test_every_patterns_label_is_known_and_a_long_text_is_labelled_once_a_token() -> None:
    tokens = ["Wait", " 1", "\n"] * 1000
    assert labels(tokens) == ["metacognition", "number", "whitespace"] * 1000


def test_sums_are_those_of_a_dense_pass(tmp_path: Path, sae: Sae) -> None:
    sets = [data_set(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))]
    found = sum_labels([(d, encode_store(sae, d.store, device=CPU)) for d in sets], n_features=12)
    mass_CF, rows_C = np.zeros((len(LABELS), N_FEATURES)), np.zeros(len(LABELS))
    for data in sets:
        values_NF, rows = dense(sae, data), data.store.rows
        codes = {n: label_codes(s.tokens) for n, s in enumerate(data.store.sequences)}
        for row in range(len(rows)):
            code = int(codes[int(rows.sequence_N[row])][rows.token_N[row]])
            mass_CF[code] += values_NF[row]
            rows_C[code] += 1
    assert np.allclose(found.mass_UCF.sum(axis=0), mass_CF, atol=1e-4)
    assert found.rows_UC.sum(axis=0).tolist() == rows_C.tolist()
    both_NF = np.concatenate([dense(sae, data) for data in sets])
    assert np.allclose(found.best_UF.max(axis=0), both_NF.max(axis=0), atol=1e-5)
    assert found.firings_F.tolist() == (both_NF > 0).sum(axis=0).tolist()
    assert (found.n_problems, len(found.rows_UC)) == (6, 6)


def planted(*, n_groups: int = 40, formatting: float = 0.65, seed: int = 0) -> tuple:
    """Return sums of features: 0 blind, 1 on whitespace alone, 2 mostly on metacognition, where
    65 % of the rows are whitespace.
    """
    rng = np.random.default_rng(seed)
    space, meta = LABELS.index("whitespace"), LABELS.index("metacognition")
    chance_C = np.zeros(len(LABELS))
    chance_C[[space, meta, -1]] = formatting, 0.05, 0.30
    rows_UC = rng.multinomial(200, chance_C, size=n_groups).astype(float)
    mass_UCF = np.zeros((n_groups, len(LABELS), 3), dtype=np.float32)
    mass_UCF[:, :, 0] = rng.binomial(rows_UC.astype(int), 0.3)
    mass_UCF[:, space, 1] = rng.binomial(rows_UC[:, space].astype(int), 0.3)
    mass_UCF[:, meta, 2] = 3 * rng.binomial(rows_UC[:, meta].astype(int), 0.9)
    mass_UCF[:, -1, 2] = rng.binomial(rows_UC[:, -1].astype(int), 0.05)
    return mass_UCF, rows_UC


def test_a_token_blind_feature_is_mixed_however_common_formatting_is() -> None:
    for seed in range(20):
        found = assign(*planted(seed=seed))
        assert not found.assigned_F[0]
        assert abs(found.selectivity_F[0]) < 0.1
        assert [LABELS[code] for code in found.code_F[1:]] == ["whitespace", "metacognition"]
        assert found.assigned_F[1:].all()
        assert found.base_F[1] == pytest.approx(0.65, abs=0.03)
        assert found.lift_F[1] == pytest.approx(1 / found.base_F[1])


def test_the_interval_of_the_lift_holds_the_truth() -> None:
    held = []
    for seed in range(300):
        found = assign(*planted(seed=seed))
        truth = (3 * 0.9 * 0.05) / (3 * 0.9 * 0.05 + 0.05 * 0.30) / found.base_F[2]
        held.append(found.low_F[2] <= truth <= found.high_F[2])
    assert np.mean(held) >= 0.92


def test_few_problems_give_no_interval_and_no_assignment() -> None:
    found = assign(*planted(n_groups=6))
    assert np.isnan(found.low_F).all()
    assert not found.assigned_F.any()


def test_top_contexts_count_each_group_once(tmp_path: Path, sae: Sae) -> None:
    data = data_set(tmp_path / "a", n=40)
    pieces = encode_store(sae, data.store, device=CPU)
    sums = sum_labels([(data, pieces)], n_features=N_FEATURES)
    found = assign_top(sums)
    values_NF, rows = dense(sae, data), data.store.rows
    feature = int(values_NF.sum(axis=0).argmax())
    best = sorted(
        (
            float(values_NF[rows.problem_N == p, feature].max()),
            int(
                np.flatnonzero(rows.problem_N == p)[
                    values_NF[rows.problem_N == p, feature].argmax()
                ]
            ),
        )
        for p in range(20)
    )[::-1]
    texts = [s.tokens for s in data.store.sequences]
    kinds = [
        labels(list(texts[int(rows.sequence_N[row])]))[rows.token_N[row]]
        for value, row in best
        if value > 0
    ]
    expected = kinds.count(LABELS[found.code_F[feature]]) / len(kinds)
    assert found.purity_F[feature] == pytest.approx(expected)
    assert found.n_F[feature] == len(kinds)


def test_shares_of_sums_agree_with_trials_where_each_unit_is_one() -> None:
    part = np.array([[1.0, 1], [0, 1], [1, 1], [0, 1], [1, 1], [1, 1]])
    found = shares_of_sums(part, np.ones_like(part), min_units=2)
    assert found.value_K.tolist() == [pytest.approx(4 / 6), 1.0]
    assert found.high_K[1] == 1.0
    assert found.low_K[1] == pytest.approx(6 / (6 + 2.570582**2))  # Wilson, t of 5 degrees
    assert found.low_K[0] < 4 / 6 < found.high_K[0]


def test_a_feature_that_never_fires_has_no_row_to_stumble_over() -> None:
    mass, rows = planted()
    mass[:, :, 2] = 0
    found = assign(mass, rows)
    assert found.purity_F[2] == 0
    assert not found.assigned_F[2]
    assert torch.isfinite(torch.from_numpy(found.lift_F)).all()
