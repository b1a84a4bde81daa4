"""Twins of an SAE, random directions in its place, and what of a feature two models have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from rewardscope.errors import ConfigError
from rewardscope.features.baselines import random_directions, sample_states
from rewardscope.features.scaling import check_same_texts, latent_scaling
from rewardscope.features.stability import best_correlations, find_twins
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.acts import ActStore
from tests.unit.features.firings import N_FEATURES, WIDTH, data_set, dense
from tests.unit.sae.planted import STEP_TAG, Acts, dictionary, make_rows, sparse_codes, write_acts

N_TRUE, N_NOISE, D = 24, 8, 32


def known_sae(rows_FD: torch.Tensor) -> Sae:
    """Return an SAE of unit directions that fires where a state lies at least 0.5 along one."""
    n = len(rows_FD)
    return Sae(
        W_enc_DF=rows_FD.T.contiguous(),
        b_enc_F=torch.zeros(n),
        W_dec_FD=rows_FD,
        b_dec_D=torch.zeros(rows_FD.shape[1]),
        threshold_F=torch.full((n,), 0.5),
        layer=0,
        info={},
    )


def planted_store(folder: Path, codes_NF: torch.Tensor, rows_FD: torch.Tensor) -> ActStore:
    rows, sequences = make_rows([["a"] * 19 + [STEP_TAG]] * (len(codes_NF) // 20))
    return ActStore(write_acts(folder, Acts({0: codes_NF @ rows_FD}, rows, sequences)))


def test_features_of_both_seeds_are_stable_and_those_of_one_are_not(tmp_path: Path) -> None:
    true_FD = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))[0]
    store = planted_store(
        tmp_path / "acts", sparse_codes(400, N_TRUE, k=4, seed=0), true_FD[:N_TRUE]
    )
    noise = [dictionary(N_NOISE, D, seed=seed) for seed in (1, 2)]
    own = known_sae(torch.cat([true_FD[:N_TRUE], noise[0]]))
    order = torch.randperm(N_TRUE, generator=torch.Generator().manual_seed(3))
    twin = known_sae(torch.cat([noise[1], true_FD[:N_TRUE][order]]))
    found = find_twins(own, [twin], [store], seed=0)
    assert found.stable_F.tolist() == [True] * N_TRUE + [False] * N_NOISE
    assert found.cosine_F[:N_TRUE] == pytest.approx(np.ones(N_TRUE), abs=1e-5)
    assert found.correlation_F[:N_TRUE] == pytest.approx(np.ones(N_TRUE), abs=1e-3)
    assert found.chance <= 0.05
    # of several twins the worst counts
    unlike = known_sae(dictionary(N_TRUE, D, seed=9))
    assert not find_twins(own, [twin, unlike], [store], seed=0).stable_F.any()


def test_the_best_correlation_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    own_NF, twin_NG = (rng.random((300, n)) * (rng.random((300, n)) < 0.2) for n in (7, 9))
    twin_NG[:, 3] += own_NF[:, 2]
    wanted = np.corrcoef(own_NF.T, twin_NG.T)[:7, 7:].max(axis=1)
    found = best_correlations(sparse.csr_matrix(own_NF), sparse.csr_matrix(twin_NG))
    assert found == pytest.approx(np.maximum(wanted, 0), abs=1e-5)


def test_random_directions_fire_as_often_as_the_features(sae: Sae, tmp_path: Path) -> None:
    data = data_set(tmp_path / "a", n=40)
    fires_NF = dense(sae, data) > 0
    states_ND = sample_states((data.store,), 0)
    assert len(states_ND) == data.store.n_rows  # few rows are all taken
    found = random_directions(sae, fires_NF.mean(axis=0), states_ND, seed=0)
    codes = found.encode(states_ND)
    counts = torch.zeros(N_FEATURES).index_add_(
        0, codes.indices_NK[codes.values_NK > 0], torch.ones(int((codes.values_NK > 0).sum()))
    )
    assert counts.numpy() == pytest.approx(fires_NF.sum(axis=0), abs=1)
    cosines = found.W_dec_FD @ torch.nn.functional.normalize(sae.W_dec_FD, dim=1).T
    assert found.W_dec_FD.shape == (N_FEATURES, WIDTH) and cosines.abs().max() < 0.999


def test_a_feature_that_one_model_lacks_has_no_part_in_its_states(tmp_path: Path) -> None:
    true_FD = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))[0]
    codes_NF = sparse_codes(400, N_TRUE, k=4, seed=0)
    own = planted_store(tmp_path / "own", codes_NF, true_FD[:N_TRUE])
    less_NF = codes_NF.clone()
    less_NF[:, :5] = 0  # the other model lacks five features, and has one at half the strength
    less_NF[:, 5] /= 2
    other = planted_store(tmp_path / "other", less_NF, true_FD[:N_TRUE])
    check_same_texts(own, other)
    found = latent_scaling(known_sae(true_FD[:N_TRUE]), own, other)
    assert found.beta_own_F == pytest.approx(np.ones(N_TRUE), abs=0.01)
    assert found.error_own_F == pytest.approx(np.zeros(N_TRUE), abs=0.01)
    # means are taken out, so that a part of a feature in every row is not counted
    assert np.abs(found.beta_other_F[:5]).max() < 0.2
    assert found.beta_other_F[5] == pytest.approx(0.5, abs=0.1)
    assert found.beta_other_F[6:] == pytest.approx(np.ones(N_TRUE - 6), abs=0.1)


def test_states_of_other_texts_are_refused(tmp_path: Path) -> None:
    first, second = (data_set(tmp_path / name, n=n).store for name, n in (("a", 4), ("b", 6)))
    with pytest.raises(ConfigError, match="rows; name the same texts"):
        check_same_texts(first, second)
