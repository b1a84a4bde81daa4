"""States in which two concepts are directions of a known dictionary, an SAE that has exactly these
directions, and one of random directions.
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from rewardscope.sae.measure.bench_rows import BenchRows, Probe
from rewardscope.sae.model.inference import Sae
from rewardscope.sae.model.sparse_codes import Csr, sparse_codes
from rewardscope.statistics.draws import draw

WIDTH, RIGHT, STYLE = 32, 3, 7  # which directions are the concepts
N_PROBLEMS, PER_PROBLEM = 40, 24
CONCEPTS = {"correct": RIGHT, "style": STYLE}


def directions(*, seed: int) -> torch.Tensor:
    """Return an orthonormal dictionary [D, D]."""
    random = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=random)).Q


def sae_of(rows_FD: torch.Tensor) -> Sae:
    """Return an SAE whose features are given unit directions, firing above 0."""
    return Sae(
        W_enc_DF=rows_FD.T.contiguous(),
        b_enc_F=torch.full((len(rows_FD),), -1e-3),
        W_dec_FD=rows_FD,
        b_dec_D=torch.zeros(WIDTH),
        threshold_F=torch.zeros(len(rows_FD)),
        layer=0,
        info={},
    )


def planted_rows(*, seed: int = 0) -> BenchRows:
    """Return rows whose concepts hold or not by chance, independently; where one holds, its
    direction is in the state, with the same size. Other directions come and go.
    """
    random = np.random.default_rng(seed)
    n = N_PROBLEMS * PER_PROBLEM
    codes_NF = random.uniform(0, 2, size=(n, WIDTH)) * (random.random((n, WIDTH)) < 0.5)
    concepts = {name: random.random(n) < 0.5 for name in CONCEPTS}
    for name, feature in CONCEPTS.items():
        codes_NF[:, feature] = 1.0 * concepts[name]
    states_ND = (codes_NF @ directions(seed=1).double().numpy()).astype(np.float32)
    problem_N = np.repeat(np.arange(N_PROBLEMS), PER_PROBLEM)
    fold_N = np.where(problem_N < 25, problem_N % 5, -1).astype(np.int8)
    return BenchRows(states_ND, fold_N, concepts, draw(problem_N[fold_N < 0], seed=0))


def codes_of(sae: Sae, rows: BenchRows) -> Csr:
    return sparse_codes(sae, torch.from_numpy(rows.states_ND))


def fit(features_ND: np.ndarray, positive_N: np.ndarray, _fold_N: np.ndarray) -> Probe:
    """Fit with scikit-learn."""
    found = LogisticRegression(C=10.0, tol=1e-8, max_iter=1000).fit(features_ND, positive_N)
    return Probe(found.coef_[0].astype(np.float64), float(found.intercept_[0]))
