import pytest
import torch
from torch import Tensor

from rewardscope.sae.bank import Codes, TopKSae, decode, top_pre_activations

N, D, F, K, K_AUX = 13, 6, 20, 3, 4
ALPHA = 1 / 32


def make_sae(*, k_aux: int = K_AUX) -> TopKSae:
    random = torch.Generator().manual_seed(3)
    sae = TopKSae(D, F, k=K, k_aux=k_aux, random=random).double()
    with torch.no_grad():
        sae.normalise_decoder()
        sae.W_enc_FD.copy_(torch.randn(F, D, generator=random, dtype=torch.float64))
        sae.b_enc_F.copy_(0.3 * torch.randn(F, generator=random, dtype=torch.float64))
        sae.b_dec_D.copy_(torch.randn(D, generator=random, dtype=torch.float64))
    return sae


def dense_loss(sae: TopKSae, x_ND: Tensor, dead_F: Tensor | None) -> Tensor:
    """The same loss by dense matrices and masks, differentiated by autograd."""
    pre_NF = (x_ND - sae.b_dec_D) @ sae.W_enc_FD.T + sae.b_enc_F

    def kept(scores_NF: Tensor, k: int) -> Tensor:
        threshold_N1 = scores_NF.sort(dim=1, descending=True).values[:, k - 1 : k]
        return torch.where(scores_NF >= threshold_N1, pre_NF.clamp(min=0), 0.0)

    error_ND = x_ND - sae.b_dec_D - kept(pre_NF, K) @ sae.W_dec_FD
    loss = (error_ND**2).sum() / ((x_ND - x_ND.mean(dim=0)) ** 2).sum()
    if dead_F is not None:
        rest_ND = error_ND.detach()
        aux_NF = kept(torch.where(dead_F, pre_NF, -torch.inf), min(K_AUX, int(dead_F.sum())))
        loss = loss + ALPHA * ((rest_ND - aux_NF @ sae.W_dec_FD) ** 2).sum() / (rest_ND**2).sum()
    return loss


@pytest.mark.parametrize("n_dead", [None, 2, 9])
def test_gradients_equal_those_of_the_dense_loss(n_dead: int | None) -> None:
    x_ND = torch.randn(N, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 2.0
    dead_F = None if n_dead is None else torch.arange(F) < n_dead
    sparse, dense = make_sae(), make_sae()
    losses = sparse.losses(x_ND, dead_F=dead_F, alpha=ALPHA)
    losses.total.backward()
    reference = dense_loss(dense, x_ND, dead_F)
    reference.backward()
    assert losses.total.item() == pytest.approx(reference.item(), rel=1e-12)
    for (name, p), (_, q) in zip(sparse.named_parameters(), dense.named_parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-10, atol=1e-12, msg=name)


def test_dead_features_get_gradients_only_through_the_auxiliary_loss() -> None:
    x_ND = torch.randn(N, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    dead_F = torch.arange(F) < 5
    gradients = []
    for mask in (dead_F, None):
        sae = make_sae()
        with torch.no_grad():
            sae.W_enc_FD[:5] *= 1e-6  # positive on some rows, but never among the largest
            sae.b_enc_F[:5] = 0.0
        sae.losses(x_ND, dead_F=mask, alpha=ALPHA).total.backward()
        assert sae.W_enc_FD.grad is not None and sae.W_dec_FD.grad is not None
        gradients.append(sae.W_enc_FD.grad[:5].norm(dim=1))
    assert (gradients[0] > 0).all()
    assert (gradients[1] == 0).all()


def test_top_pre_activations_are_the_largest_and_the_others_come_from_the_given_features() -> None:
    sae = make_sae()
    x_ND = torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    among = torch.tensor([0, 2, 11])
    top = top_pre_activations(x_ND, sae.W_enc_FD.T, sae.b_enc_F, k=K, among=among, k_among=2)
    pre_NF = (x_ND @ sae.W_enc_FD.T + sae.b_enc_F).detach()
    for row in range(N):
        best = sorted(pre_NF[row].tolist(), reverse=True)[:K]
        assert sorted(top.values_NK[row, :K].tolist(), reverse=True) == pytest.approx(best)
        allowed = sorted(pre_NF[row, among].tolist(), reverse=True)[:2]
        assert sorted(top.values_NK[row, K:].tolist(), reverse=True) == pytest.approx(allowed)
    torch.testing.assert_close(pre_NF.gather(1, top.indices_NK), top.values_NK)


def test_decoding_is_the_product_with_the_dense_codes() -> None:
    random = torch.Generator().manual_seed(2)
    W_dec_FD = torch.randn(F, D, generator=random)
    codes = Codes(torch.rand(N, K, generator=random), torch.stack([torch.randperm(F, generator=random)[:K] for _ in range(N)]))
    dense_NF = torch.zeros(N, F).scatter(1, codes.indices_NK, codes.values_NK)
    torch.testing.assert_close(decode(codes, W_dec_FD), dense_NF @ W_dec_FD)


def test_rows_since_a_feature_fired_are_counted_in_rows() -> None:
    sae = make_sae(k_aux=0)
    x_ND = torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    pre_NF = ((x_ND - sae.b_dec_D) @ sae.W_enc_FD.T + sae.b_enc_F).detach()
    fired = {f for row in pre_NF for f in row.topk(K).indices.tolist() if row[f] > 0}
    sae.losses(x_ND, dead_F=None, alpha=0.0)
    sae.losses(x_ND, dead_F=None, alpha=0.0)
    assert sae.rows_since_fired_F.tolist() == [0 if f in fired else 2 * N for f in range(F)]


def test_the_projected_gradient_leaves_the_decoder_rows_length_alone() -> None:
    sae = make_sae()
    x_ND = torch.randn(N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    sae.losses(x_ND, dead_F=None, alpha=0.0).total.backward()
    sae.project_gradient()
    assert sae.W_dec_FD.grad is not None
    assert (sae.W_dec_FD.grad * sae.W_dec_FD).sum(dim=1).abs().max() < 1e-12
    with torch.no_grad():
        sae.W_dec_FD *= 3.0
    sae.normalise_decoder()
    torch.testing.assert_close(sae.W_dec_FD.norm(dim=1), torch.ones(F, dtype=torch.float64))
