"""Codes of finished SAEs: the k largest pre-activations of each row, and the way back."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

# Shape legend: N rows, D width, F features, K active features a row.
_PRE_ACTIVATIONS = 1 << 22  # at most this many are held at once: 16 MiB


class Codes(NamedTuple):
    """The active features of each row, in no order; a value of 0 means that fewer than K fired."""

    values_NK: Tensor
    indices_NK: Tensor


@torch.no_grad()
def top_pre_activations(x_ND: Tensor, W_enc_DF: Tensor, b_enc_F: Tensor, *, k: int) -> Codes:
    """Return the `k` largest pre-activations of each row; not yet rectified."""
    found = []
    for chunk_ND in x_ND.split(max(1, _PRE_ACTIVATIONS // len(b_enc_F))):
        found.append(torch.addmm(b_enc_F, chunk_ND, W_enc_DF).topk(k, dim=1, sorted=False))
    return Codes(
        torch.cat([values for values, _ in found]), torch.cat([indices for _, indices in found])
    )


def decode(codes: Codes, W_dec_FD: Tensor) -> Tensor:
    """Return the weighted sum [N, D] of each row's decoder rows, without a bias."""
    return embedding_bag(codes.indices_NK, W_dec_FD, per_sample_weights=codes.values_NK, mode="sum")
