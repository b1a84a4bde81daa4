"""Whether features come back in SAEs of other seeds: the best match of each by the direction of its
decoder row and by the correlation of its activations on the same rows.

Source for why it matters: arXiv 2606.12138, features that do not come back are mostly surface
triggers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from rewardscope.sae.model.checkpoint import Sae
from rewardscope.sae.model.sparse_codes import Csr, sparse_codes
from rewardscope.storage.acts import ActStore

# Shape legend: N rows, F features, G features of the twin, D width, E firings.
MIN_COSINE, MIN_CORRELATION = 0.7, 0.5  # of a stable feature
ROWS = 65_536  # of each data set, for correlations
_CELLS = 1 << 24  # of the table of products, some 200 MiB


class Twins(NamedTuple):
    """The best match of each feature, the worst over several twins; each [F].

    chance: share of the features of this SAE that would be stable against twins of shuffled
    coordinates, whose firings are those of other rows.
    """

    cosine_F: np.ndarray
    correlation_F: np.ndarray
    chance: float

    @property
    def stable_F(self) -> np.ndarray:
        return is_stable(self.cosine_F, self.correlation_F)


def is_stable(cosine_F: np.ndarray, correlation_F: np.ndarray) -> np.ndarray:
    """Say which features have a match of both kinds."""
    return (cosine_F >= MIN_COSINE) & (correlation_F >= MIN_CORRELATION)


def find_twins(own: Sae, others: Sequence[Sae], stores: Sequence[ActStore], *, seed: int) -> Twins:
    """Compare an SAE with those of other seeds on the same rows: at most `ROWS` of each folder,
    evenly spaced over its shards.
    """
    codes = _codes([own, *others], stores)
    rng = np.random.default_rng(seed)
    cosines, correlations, by_chance = [], [], []
    for twin, codes_NG in zip(others, codes[1:], strict=True):
        cosines.append(best_cosines(own.W_dec_FD, twin.W_dec_FD))
        correlations.append(best_correlations(codes[0], codes_NG))
        turned_GD = twin.W_dec_FD[:, torch.from_numpy(rng.permutation(twin.width))]
        shuffled_NG = codes_NG[rng.permutation(codes_NG.shape[0])]
        by_chance.append(
            (best_cosines(own.W_dec_FD, turned_GD), best_correlations(codes[0], shuffled_NG))
        )
    chance_F = is_stable(*(np.min(each, axis=0) for each in zip(*by_chance, strict=True)))
    fires_F = np.asarray((codes[0] > 0).sum(axis=0)).reshape(-1) > 0
    return Twins(
        np.min(cosines, axis=0),
        np.min(correlations, axis=0),
        float(chance_F[fires_F].mean()) if fires_F.any() else 0.0,
    )


def best_cosines(rows_FD: torch.Tensor, others_GD: torch.Tensor) -> np.ndarray:
    """Return the largest cosine [F] of each row with one of the others."""
    rows_FD, others_GD = (
        torch.nn.functional.normalize(each, dim=1) for each in (rows_FD, others_GD)
    )
    best = [(part_FD @ others_GD.T).amax(dim=1) for part_FD in rows_FD.split(1024)]
    return torch.cat(best).cpu().numpy()


def best_correlations(own_NF: Csr, twin_NG: Csr) -> np.ndarray:
    """Return the largest correlation [F] of each feature with one of the twin's that fires on a
    common row; 0 where there is none.
    """
    n_rows, n_features = own_NF.shape
    mean_F, deviation_F = _moments(own_NF)
    mean_G, deviation_G = _moments(twin_NG)
    best_F = np.zeros(n_features, dtype=np.float32)
    by_feature = own_NF.tocsc()
    size = max(1, _CELLS // max(1, twin_NG.shape[1]))
    for start in range(0, n_features, size):
        products = (by_feature[:, start : start + size].T.tocsr() @ twin_NG).tocoo()
        row_E, feature_E = products.row + start, products.col
        shared_E = products.data / n_rows - mean_F[row_E] * mean_G[feature_E]
        found_E = shared_E / np.maximum(deviation_F[row_E] * deviation_G[feature_E], 1e-30)
        np.maximum.at(best_F, row_E, found_E.astype(np.float32))
    return best_F


def _moments(codes_NF: Csr) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each column."""
    n_rows = codes_NF.shape[0]
    mean_F = np.asarray(codes_NF.sum(axis=0)).reshape(-1) / n_rows
    square_F = np.asarray(codes_NF.multiply(codes_NF).sum(axis=0)).reshape(-1) / n_rows
    return mean_F, np.sqrt(np.maximum(square_F - mean_F**2, 0))


def _codes(saes: Sequence[Sae], stores: Sequence[ActStore]) -> list[Csr]:
    """Return the codes [N, F] of the same rows in each SAE."""
    parts: list[list[Csr]] = [[] for _ in saes]
    for store in stores:
        step = max(1, -(-store.n_rows // ROWS))
        for acts_ND in store.stream_layer(saes[0].layer):
            states_ND = acts_ND[::step].to(saes[0].W_enc_DF.device)
            for sae, of_sae in zip(saes, parts, strict=True):
                of_sae.append(sparse_codes(sae, states_ND))
    return [sparse.vstack(of_sae, format="csr") for of_sae in parts]
