"""Latent scaling: how much of each feature is in the states of each of two models on the same
texts, one of which the SAE was trained on.

A feature that only the SAE's own model has, has beta_own 1 and beta_other 0; where both are near 1
both models write it. Source: arXiv 2504.02922 section 3.2, here for an SAE of one model.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from rewardscope.errors import ConfigError
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.sae.model.codes import Codes
from rewardscope.storage.acts import ActStore
from rewardscope.storage.rows import RowTable

# Shape legend: N rows, D width, F features, K active features a row.
_CELLS = 1 << 22  # of gathered decoder rows


class Scaling(NamedTuple):
    """Of each feature [F], NaN where it never fires.

    beta: what multiplies its contribution for the least squared error on the states less what all
    other features reconstruct. error: the share of these squares, over the rows where it fires,
    that is left then.
    """

    beta_own_F: np.ndarray
    beta_other_F: np.ndarray
    error_own_F: np.ndarray
    error_other_F: np.ndarray


def check_same_texts(own: ActStore, other: ActStore) -> None:
    """Raises: ConfigError where two folders are not of the same rows, in the same order."""
    where = f"--same-texts {own.folder},{other.folder}"
    if own.n_rows != other.n_rows:
        raise ConfigError(f"{where}: {own.n_rows} and {other.n_rows} rows; name the same texts")
    if own.width != other.width:
        raise ConfigError(
            f"{where}: states of width {own.width} and {other.width}; latent scaling needs models"
            " of one width"
        )
    at = 0
    for ours, theirs in zip(own.row_groups(), other.row_groups(), strict=True):
        same_N = (ours.token_N == theirs.token_N) & (ours.trace_N == theirs.trace_N)
        if not same_N.all() or _problems(ours) != _problems(theirs):
            first = at + int(np.argmin(same_N))
            raise ConfigError(f"{where}: row {first} is of another text; name the same texts")
        at += len(ours)


def _problems(rows: RowTable) -> list[str]:
    return [str(rows.problems[int(code)]) for code in dict.fromkeys(rows.problem_N.tolist())]


def latent_scaling(sae: Sae, own: ActStore, other: ActStore) -> Scaling:
    """Return how much of each feature is in the states of both models; the SAE reads `own`."""
    means_2D = torch.zeros(2, sae.width, dtype=torch.float64)
    for _, left_2ND in _residuals(sae, own, other):
        means_2D += left_2ND.double().sum(dim=1).cpu() / own.n_rows
    shift_21D = means_2D.float()[:, None].to(sae.b_dec_D.device)
    sums = torch.zeros(2, 2, sae.n_features, dtype=torch.float64)  # f d.r and |y|^2 of each model
    square_F = torch.zeros(sae.n_features, dtype=torch.float64)  # f^2 |d|^2
    norm_F = (sae.W_dec_FD**2).sum(dim=1)
    for codes, left_2ND in _residuals(sae, own, other):
        left_2ND = left_2ND - shift_21D
        index, value_NK = codes.indices_NK.reshape(-1).cpu(), codes.values_NK
        fires_NK = value_NK > 0
        own_NK = value_NK**2 * norm_F[codes.indices_NK]
        square_F.index_add_(0, index, own_NK.reshape(-1).double().cpu())
        for number, left_ND in enumerate(left_2ND):
            along_NK = value_NK * _along(sae, codes.indices_NK, left_ND)
            length_NK = fires_NK * ((left_ND**2).sum(dim=1)[:, None] + 2 * along_NK + own_NK)
            for place, found_NK in enumerate((along_NK, length_NK)):
                sums[number, place].index_add_(0, index, found_NK.reshape(-1).double().cpu())
    square, along, length = square_F.numpy(), sums[:, 0].numpy(), sums[:, 1].numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        beta_2F = 1 + along / square
        error_2F = np.clip(1 - beta_2F**2 * square / length, 0, 1)
    return Scaling(*beta_2F, *error_2F)


def _residuals(sae: Sae, own: ActStore, other: ActStore) -> Iterator[tuple[Codes, torch.Tensor]]:
    """Yield codes of the own model's states, and the states [2, N, D] of both models less the
    reconstruction from these codes.
    """
    device = sae.b_dec_D.device
    for ours_ND, theirs_ND in zip(
        own.stream_layer(sae.layer), other.stream_layer(sae.layer), strict=True
    ):
        states_2ND = torch.stack([ours_ND, theirs_ND]).to(device)
        codes = sae.encode(states_2ND[0])
        yield codes, states_2ND - sae.decode(codes)


def _along(sae: Sae, indices_NK: torch.Tensor, left_ND: torch.Tensor) -> torch.Tensor:
    """Return the inner products [N, K] of rows with the decoder rows of their features."""
    n = max(1, _CELLS // max(1, indices_NK.shape[1] * sae.width))
    parts = zip(indices_NK.split(n), left_ND.split(n), strict=True)
    return torch.cat(
        [torch.einsum("nkd,nd->nk", sae.W_dec_FD[index_NK], rows_ND) for index_NK, rows_ND in parts]
    )
