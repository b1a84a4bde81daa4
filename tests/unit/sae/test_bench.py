"""The benchmark of SAEs on planted concepts: what it must find, and what it must not."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from rewardscope.sae.measure.bench_rows import mean_difference, strongest
from rewardscope.sae.measure.concept_removal import (
    Confounded,
    Removal,
    balanced_accuracy,
    confounded,
    has_all_cells,
    spurious_removal,
    targeted_perturbation,
)
from rewardscope.sae.measure.matching import match
from rewardscope.sae.measure.sparse_probing import k_sparse_auroc, sparse_probes
from rewardscope.sae.model.inference import Sae
from rewardscope.statistics.draws import draw
from rewardscope.statistics.measures import Measured, auroc_measure
from tests.unit.sae.planted_concepts import (
    RIGHT,
    STYLE,
    WIDTH,
    codes_of,
    directions,
    fit,
    planted_rows,
    sae_of,
)

ROWS = planted_rows()
TEST_N = ~ROWS.train_N
PLANTED, RANDOM = sae_of(directions(seed=1)), sae_of(directions(seed=2))


def removal_of(sae: Sae) -> Removal:
    return Removal(codes_of(sae, ROWS), sae.W_dec_FD.double().numpy(), ROWS, seed=0)


def test_one_planted_feature_is_all_that_a_sparse_probe_needs() -> None:
    correct_N = ROWS.concepts["correct"]
    states = auroc_measure(
        correct_N[TEST_N], ROWS.fit(fit, "correct").score(ROWS.states_ND[TEST_N]), ROWS.draws
    )
    found = list(
        sparse_probes(
            codes_of(PLANTED, ROWS),
            codes_of(RANDOM, ROWS),
            ROWS,
            concept="correct",
            states=states,
            ks=(1, 5),
            fit=fit,
        )
    )
    assert [each.setting for each in found[::2]] == ["correct, k 1", "correct, k 5"]
    assert found[0].measured.value == found[2].measured.value == 1.0
    assert found[1].measured.value == 1.0 - states.value
    assert found[0].control.value < 0.95


def test_the_sparse_probe_of_one_feature_ranks_rows_as_the_feature_does() -> None:
    codes_NF, correct_N = codes_of(RANDOM, ROWS), ROWS.concepts["correct"]
    dense_NF = codes_NF.toarray()
    train_NF, right_N = dense_NF[ROWS.train_N], correct_N[ROWS.train_N]
    gap_F = train_NF[right_N].mean(axis=0) - train_NF[~right_N].mean(axis=0)
    np.testing.assert_allclose(mean_difference(codes_NF[ROWS.train_N], right_N), gap_F)
    best = int(np.abs(gap_F).argmax())
    expected = roc_auc_score(correct_N[TEST_N], np.sign(gap_F[best]) * dense_NF[TEST_N, best])
    found = k_sparse_auroc(codes_NF, ROWS, concept="correct", k=1, fit=fit)
    assert found.value == pytest.approx(expected)


def test_features_that_tell_nothing_apart_are_not_chosen() -> None:
    assert strongest(np.array([0.0, -3.0, 1.0, 0.0]), 3).tolist() == [1, 2]
    silent = sae_of(-torch.zeros(WIDTH, WIDTH))
    found = k_sparse_auroc(codes_of(silent, ROWS), ROWS, concept="correct", k=2, fit=fit)
    assert found.value == 0.5


def test_removing_the_planted_style_leaves_a_probe_of_correctness_alone() -> None:
    biased = Confounded(ROWS, "correct", "style", fit)
    assert 0.6 < biased.before.value < 0.9  # it is wrong where style and correctness part
    removal = removal_of(PLANTED)
    assert removal.features_of("style", biased.probe, 1, within="correct").tolist() == [STYLE]
    (found,) = spurious_removal(removal, biased, ks=(1,))
    assert biased.before.value + found.measured.value == 1.0
    assert abs(found.control.value) < 0.1
    (of_random,) = spurious_removal(removal_of(RANDOM), biased, ks=(1,))
    assert of_random.measured.value < found.measured.value / 2


def test_the_planted_feature_is_targeted_and_random_ones_are_not() -> None:
    probes = {name: ROWS.fit(fit, name) for name in ROWS.concepts}
    removal = removal_of(PLANTED)
    assert removal.features_of("correct", probes["correct"], 1).tolist() == [RIGHT]
    found = list(targeted_perturbation(removal, ROWS, probes, ks=(1,)))
    assert [each.setting for each in found] == ["correct, k 1", "style, k 1"]
    for each in found:  # what is left of its probe is noise; the other one stays
        assert 0.4 < each.measured.value < 0.6
        assert abs(each.control.value) < 0.02
    of_random = list(targeted_perturbation(removal_of(RANDOM), ROWS, probes, ks=(1,)))
    assert max(each.measured.value for each in of_random) < 0.3


def test_a_change_of_scores_is_that_of_the_probe_on_changed_states() -> None:
    probe, features = ROWS.fit(fit, "correct"), np.array([1, RIGHT])
    codes_NF = codes_of(RANDOM, ROWS).toarray()
    taken_ND = (codes_NF - codes_NF[ROWS.train_N].mean(axis=0))[:, features]
    changed_ND = ROWS.states_ND - taken_ND @ RANDOM.W_dec_FD.double().numpy()[features]
    expected = (probe.score(changed_ND) - probe.score(ROWS.states_ND))[TEST_N]
    found = removal_of(RANDOM).change(probe, features)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_confounded_set_has_as_many_rows_of_both_and_of_neither() -> None:
    chosen_N = confounded(ROWS, "correct", "style")
    correct_N, style_N = ROWS.concepts["correct"], ROWS.concepts["style"]
    assert (correct_N[chosen_N] == style_N[chosen_N]).all()
    assert correct_N[chosen_N].sum() * 2 == chosen_N.sum() and not (chosen_N & TEST_N).any()
    assert has_all_cells(ROWS, "correct", "style")
    one = ROWS._replace(concepts={"correct": correct_N, "style": correct_N})
    assert not has_all_cells(one, "correct", "style")


def test_each_combination_counts_as_much_in_balanced_accuracy() -> None:
    cell_N = np.array([0, 0, 0, 0, 1, 2, 3, 3])
    right_N = np.array([1, 1, 1, 1, 0, 1, 1, 0], dtype=bool)
    found = balanced_accuracy(right_N, cell_N, draw(np.arange(8), seed=0))
    assert found.value == (1 + 0 + 1 + 0.5) / 4


def at(value: float) -> Measured:
    return Measured(value=value, without_U=np.array([value, value - 1]), n=2)


def test_baselines_are_interpolated_in_the_logarithm_of_l0_or_near_or_none() -> None:
    curve = [(90.0, at(3.0)), (10.0, at(1.0))]
    found = match(30.0, curve)  # the geometric mean
    assert found is not None and found.how == "interpolated" and found.l0 == 30.0
    assert found.measured.value == pytest.approx(2.0)
    assert found.measured.without_U.tolist() == pytest.approx([2.0, 1.0])
    equal = match(10.1, curve)
    assert equal is not None and (equal.how, equal.measured.value) == ("nearest", 1.0)
    near = match(100.0, curve)
    assert near is not None and (near.how, near.l0, near.measured.value) == ("nearest", 90.0, 3.0)
    assert match(150.0, curve) is None and match(30.0, []) is None
