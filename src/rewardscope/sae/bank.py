"""TopK sparse autoencoders, one a layer, with an encoder and a decoder that use the codes' sparsity in both directions.

The dense [N, F] pre-activations exist only for a few rows at a time, without gradient; decoding and both backward passes
touch N K rows of the weights. Source: Gao et al. 2024, arXiv 2406.04093, sections 2.3, 2.4 and A.2.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

# Shape legend: N rows, D width, F features, K active features a row.
_PRE_ACTIVATIONS = 1 << 22  # at most this many are held at once: 16 MiB


class Codes(NamedTuple):
    """The active features of each row, in no order; a value of 0 means that fewer than K fired."""

    values_NK: Tensor
    indices_NK: Tensor


class Losses(NamedTuple):
    """What one batch gave: the loss to minimise, the fraction of variance unexplained, and the part of dead features (0: none)."""

    total: Tensor
    fvu: Tensor
    aux: Tensor


@torch.no_grad()
def top_pre_activations(x_ND: Tensor, W_enc_DF: Tensor, b_enc_F: Tensor, *, k: int, among: Tensor | None = None, k_among: int = 0) -> Codes:
    """Return the `k` largest pre-activations of each row, then the `k_among` largest of the features `among`; not yet rectified."""
    found = []
    for chunk_ND in x_ND.split(max(1, _PRE_ACTIVATIONS // len(b_enc_F))):
        pre_NF = torch.addmm(b_enc_F, chunk_ND, W_enc_DF)
        top = pre_NF.topk(k, dim=1, sorted=False)
        if among is None:
            found.append(top)
            continue
        others = pre_NF[:, among].topk(k_among, dim=1, sorted=False)
        found.append((torch.cat([top[0], others[0]], dim=1), torch.cat([top[1], among[others[1]]], dim=1)))
    return Codes(torch.cat([values for values, _ in found]), torch.cat([indices for _, indices in found]))


def decode(codes: Codes, W_dec_FD: Tensor) -> Tensor:
    """Return the weighted sum [N, D] of each row's decoder rows, without a bias."""
    return embedding_bag(codes.indices_NK, W_dec_FD, per_sample_weights=codes.values_NK, mode="sum")


class _Encode(torch.autograd.Function):
    """Pre-activations at given features, with gradients to the input, the weights and the bias that never make [N, F]."""

    @staticmethod
    def forward(ctx, x_ND: Tensor, W_enc_FD: Tensor, b_enc_F: Tensor, values_NK: Tensor, indices_NK: Tensor) -> Tensor:
        ctx.save_for_backward(x_ND, W_enc_FD, indices_NK)
        return values_NK.clone()

    @staticmethod
    def backward(ctx, grad_NK: Tensor):  # type: ignore[override]
        x_ND, W_enc_FD, indices_NK = ctx.saved_tensors
        grad_x_ND = decode(Codes(grad_NK, indices_NK), W_enc_FD)
        grad_b_F = grad_NK.new_zeros(len(W_enc_FD)).index_add_(0, indices_NK.flatten(), grad_NK.flatten())
        return grad_x_ND, _sum_by_feature(Codes(grad_NK, indices_NK), x_ND, len(W_enc_FD)), grad_b_F, None, None


def _sum_by_feature(codes: Codes, x_ND: Tensor, n_features: int) -> Tensor:
    """Return for each feature the sum [F, D] of the rows that use it, weighted: codes [N, F] transposed times x."""
    k = codes.indices_NK.shape[1]
    features, order = codes.indices_NK.flatten().sort(stable=True)
    starts = torch.searchsorted(features, torch.arange(n_features, device=features.device))
    return embedding_bag(order // k, x_ND, starts, per_sample_weights=codes.values_NK.flatten()[order], mode="sum")


class TopKSae(nn.Module):
    """One SAE in training: W_dec has unit rows, and dead features are counted in rows, not in batches."""

    def __init__(self, width: int, n_features: int, *, k: int, k_aux: int, random: torch.Generator) -> None:
        super().__init__()
        assert k + k_aux <= n_features, (k, k_aux, n_features)
        directions_FD = nn.functional.normalize(torch.randn(n_features, width, generator=random), dim=1)
        self.k, self.k_aux = k, k_aux
        self.W_enc_FD = nn.Parameter(directions_FD.clone())
        self.b_enc_F = nn.Parameter(torch.zeros(n_features))
        self.W_dec_FD = nn.Parameter(directions_FD)
        self.b_dec_D = nn.Parameter(torch.zeros(width))
        self.register_buffer("rows_since_fired_F", torch.zeros(n_features, dtype=torch.int64))
        self.rows_since_fired_F: Tensor

    def losses(self, x_ND: Tensor, *, dead_F: Tensor | None, alpha: float) -> Losses:
        """Return the losses of a batch and count which features fired.

        fvu is the squared error over the batch's variance. `dead_F` marks the features whose own reconstruction of what the
        others left (eq. 8 of A.2, as a share of that rest) is added with the weight `alpha`; the rest is a constant there.
        """
        centred_ND = x_ND - self.b_dec_D
        main, aux = self._encode(centred_ND, None if dead_F is None else dead_F.nonzero().flatten())
        self._count(main, len(x_ND))
        error_ND = x_ND - self.b_dec_D - decode(main, self.W_dec_FD)
        fvu = error_ND.square().sum() / (x_ND - x_ND.mean(dim=0)).square().sum()
        if aux is None:
            return Losses(fvu, fvu.detach(), fvu.new_zeros(()))
        rest_ND = error_ND.detach()
        aux_loss = (rest_ND - decode(aux, self.W_dec_FD)).square().sum() / rest_ND.square().sum()
        return Losses(fvu + alpha * aux_loss, fvu.detach(), aux_loss.detach())

    def _encode(self, centred_ND: Tensor, dead: Tensor | None) -> tuple[Codes, Codes | None]:
        k_aux = 0 if dead is None else min(self.k_aux, len(dead))
        top = top_pre_activations(centred_ND, self.W_enc_FD.T, self.b_enc_F, k=self.k, among=dead if k_aux else None, k_among=k_aux)
        values_NK = torch.relu(_Encode.apply(centred_ND, self.W_enc_FD, self.b_enc_F, *top))
        main = Codes(values_NK[:, : self.k], top.indices_NK[:, : self.k])
        return main, Codes(values_NK[:, self.k :], top.indices_NK[:, self.k :]) if k_aux else None

    @torch.no_grad()
    def _count(self, codes: Codes, n_rows: int) -> None:
        self.rows_since_fired_F += n_rows
        self.rows_since_fired_F[codes.indices_NK[codes.values_NK > 0]] = 0

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Remove from the decoder's gradient what would change the length of its rows."""
        assert self.W_dec_FD.grad is not None
        along_F1 = (self.W_dec_FD.grad * self.W_dec_FD).sum(dim=1, keepdim=True)
        self.W_dec_FD.grad -= along_F1 * self.W_dec_FD

    @torch.no_grad()
    def normalise_decoder(self) -> None:
        """Give every decoder row length 1."""
        self.W_dec_FD /= self.W_dec_FD.norm(dim=1, keepdim=True)
