"""Random directions that fire as often as the features of an SAE: what a comparison finds in them
it would find in any directions.
"""

import numpy as np
import torch

from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.acts import ActStore

# Shape legend: N rows, D width, F features.
SAMPLE = 8192  # rows from which thresholds are set
_FEATURES_AT_ONCE = 1024


def sample_states(stores: tuple[ActStore, ...], layer: int, *, n: int = SAMPLE) -> torch.Tensor:
    """Return about `n` states of a layer [N, D], evenly spaced over the rows of all folders; all of
    them where there are fewer.
    """
    total = sum(store.n_rows for store in stores)
    step, at, chosen = max(1, total // n), 0, []
    for store in stores:
        for acts_ND in store.stream_layer(layer):
            # a copy: a view would keep the whole shard in memory
            chosen.append(acts_ND[(-at) % step :: step].clone())
            at += len(acts_ND)
    return torch.cat(chosen)


@torch.no_grad()
def random_directions(sae: Sae, rate_F: np.ndarray, states_ND: torch.Tensor, *, seed: int) -> Sae:
    """Return as many random unit directions as the SAE has features; each fires where the state,
    less the mean state, lies far enough along it: as often among the given states as its feature,
    whose share of rows is `rate_F`.
    """
    states_ND = states_ND.to(sae.W_enc_DF.device)
    mean_D, n = states_ND.mean(dim=0), len(states_ND)
    random = torch.Generator().manual_seed(seed)
    raw_FD = torch.randn(sae.n_features, sae.width, generator=random)
    rows_FD = torch.nn.functional.normalize(raw_FD, dim=1).to(states_ND.device)
    wanted_F = torch.from_numpy(rate_F * n).to(states_ND.device)
    bias_F = torch.full((sae.n_features,), -torch.inf, device=states_ND.device)
    for start in range(0, sae.n_features, _FEATURES_AT_ONCE):
        part = slice(start, start + _FEATURES_AT_ONCE)
        along_FN = (rows_FD[part] @ (states_ND - mean_D).T).sort(dim=1, descending=True).values
        bias_F[part] = -_between(along_FN, wanted_F[part])
    return Sae(
        W_enc_DF=rows_FD.T.contiguous(),
        b_enc_F=bias_F,
        W_dec_FD=rows_FD,
        b_dec_D=mean_D,
        threshold_F=torch.zeros_like(bias_F),
        activation="random directions",
        layer=sae.layer,
        info={},
    )


def _between(sorted_FN: torch.Tensor, wanted_F: torch.Tensor) -> torch.Tensor:
    """Return a value for each line with `wanted_F` of its values above it; infinite where none is
    wanted.
    """
    n = sorted_FN.shape[1]
    at_F = wanted_F.round().long().clamp(1, n - 1)
    above_F, below_F = (sorted_FN.gather(1, (at_F + k)[:, None])[:, 0] for k in (-1, 0))
    middle_F = torch.where(wanted_F >= n - 0.5, sorted_FN[:, -1] - 1, (above_F + below_F) / 2)
    return torch.where(wanted_F > 0, middle_F, torch.inf)
