"""Codes of an SAE as one sparse matrix, a feature a column."""

from typing import Any

import numpy as np
import torch
from scipy import sparse

from rewardscope.sae.model.inference import Sae

# Shape legend: N rows, D width, F features.
Csr = Any  # a scipy matrix in rows


def sparse_codes(sae: Sae, states_ND: torch.Tensor) -> Csr:
    """Return the codes [N, F] of raw activations, float64."""
    codes = sae.encode(states_ND)
    fires_NK = codes.values_NK > 0
    ends_N = np.cumsum(fires_NK.sum(dim=1).cpu().numpy())
    return sparse.csr_matrix(
        (
            codes.values_NK[fires_NK].double().cpu().numpy(),
            codes.indices_NK[fires_NK].cpu().numpy(),
            np.concatenate([[0], ends_N]),
        ),
        shape=(len(states_ND), sae.n_features),
    )
