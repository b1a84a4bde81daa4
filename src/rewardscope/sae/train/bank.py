"""The SAE of one layer in training, and the gradients of one batch, written out: no graph, nothing
dense after the encoder.

Entries of nested prefixes (Matryoshka) and of dead features (AuxK) are rows of further blocks below
the batch's own, so that one decoder pass and one pass for each gradient serve them all. Sources:
TopK and AuxK arXiv 2406.04093 sections 2.3 and A.2, JumpReLU arXiv 2407.14435 section 3, Matryoshka
arXiv 2503.17547 section 3.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from rewardscope.sae.train.activations import Above, Among, BatchTopK, Picker, TopK, encode
from rewardscope.sae.train.ranks import Ranks
from rewardscope.sae.train.sparse import Entries, Kernels, stable_order, starts_of

# Shape legend: N rows, D width, F features, M stored entries, B blocks of N rows, P prefixes.
ActivationName = Literal["topk", "batchtopk", "jumprelu", "matryoshka"]
# AuxK looks at every second row: the same gradient in the mean, for half of what costs as much as
# all the rest
AUX_STRIDE = 2
_SMOOTH = 0.99  # of BatchTopK's threshold for single rows, a batch


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How the features of one layer are chosen. `k` is what may be active a row (JumpReLU: what is
    aimed at).

    k_aux: dead features a row that AuxK uses. prefixes: ends of the nested dictionaries, the last
    is the number of features. l0_weight, bandwidth: JumpReLU's weight of (L0 / k - 1)^2 and width
    of its kernel, for rows of mean square length D.
    bf16: the encoder's product is made of bfloat16 copies; weights, gradients and everything sparse
    stay float32.
    """

    activation: ActivationName
    k: int
    k_aux: int
    prefixes: tuple[int, ...]
    l0_weight: float
    bandwidth: float
    bf16: bool


class Report(NamedTuple):
    """What one batch gave: the loss, the fraction of variance unexplained, active features a row,
    and AuxK's part (0: none).
    """

    loss: Tensor
    fvu: Tensor
    l0: Tensor
    aux: Tensor


class BankLayer:
    """One SAE in training:

    W_dec has unit rows, and dead features are counted in rows, not in batches.
    """

    def __init__(self, width: int, n_features: int, *, rule: Rule, random: torch.Generator) -> None:
        assert rule.k > 0 and rule.k + rule.k_aux <= n_features == rule.prefixes[-1], (
            rule,
            n_features,
        )
        self.rule = rule
        self.W_dec_FD = normalize(torch.randn(n_features, width, generator=random), dim=1)
        self.W_enc_FD = self.W_dec_FD.clone()
        self.b_enc_F = torch.zeros(n_features)
        self.b_dec_D = torch.zeros(width)
        self.log_threshold_F = torch.zeros(n_features if rule.activation == "jumprelu" else 0)
        self.rows_since_fired_F = torch.zeros(n_features, dtype=torch.int64)
        # BatchTopK's: the smallest active value, smoothed over batches
        self.batch_threshold = torch.zeros(())

    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that are trained, by name."""
        names = ("W_enc_FD", "b_enc_F", "W_dec_FD", "b_dec_D", "log_threshold_F")
        return {name: getattr(self, name) for name in names if len(getattr(self, name))}

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that changes in training, by name."""
        return self.parameters() | {
            "rows_since_fired_F": self.rows_since_fired_F,
            "batch_threshold": self.batch_threshold,
        }

    def to(self, device: torch.device | torch.dtype) -> "BankLayer":
        """Move the weights to a device or type, in place."""
        for name, tensor in self.tensors().items():
            moves = isinstance(device, torch.device) or tensor.is_floating_point()
            setattr(self, name, tensor.to(device) if moves else tensor)
        return self

    def pickers(self, n_rows: int, dead: Tensor | None, *, ranks: Ranks) -> list[Picker | Among]:
        """Return the rule for a batch with `n_rows` rows here, and the one for its dead features
        (by index) where there are any.
        """
        rule, main = self.rule, TopK(self.rule.k)
        if rule.activation == "batchtopk":
            main = BatchTopK(rule.k, int(ranks.sum_(torch.tensor(n_rows))), ranks=ranks)
        elif rule.activation == "jumprelu":
            main = Above(self.log_threshold_F.exp() - rule.bandwidth / 2)
        k_aux = 0 if dead is None else min(rule.k_aux, len(dead))
        return (
            [main, Among(TopK(k_aux), dead, stride=AUX_STRIDE)]
            if dead is not None and k_aux
            else [main]
        )

    @torch.no_grad()
    def gradients(
        self, x_ND: Tensor, *, dead: Tensor | None, alpha: float, kernels: Kernels, ranks: Ranks
    ) -> tuple[dict[str, Tensor], Report]:
        """Return the gradients of the loss by parameter, still to be summed over `ranks`, and count
        which features fired.

        The loss is fvu, the squared error over the batch's variance (summed over prefixes), plus
        `alpha` times AuxK's: the share of the error of some rows, taken as a constant, that the
        features `dead` leave when they reconstruct it.
        """
        n, prefixes = len(x_ND), self.rule.prefixes
        centred_ND = x_ND - self.b_dec_D
        main, *others = encode(
            centred_ND,
            self.W_enc_FD,
            self.b_enc_F,
            self.pickers(n, dead, ranks=ranks),
            bf16=self.rule.bf16,
        )
        gate = (
            _Gate(main, self.log_threshold_F, self.rule)
            if self.rule.activation == "jumprelu"
            else None
        )
        active = gate.codes(main) if gate else main
        blocks, rows_M = _stack([active, *others], n, prefixes)
        g_BND = kernels.decode(blocks, self.W_dec_FD).view(-1, n, self.W_dec_FD.shape[1])
        sums = _errors_in_place(g_BND, centred_ND, len(prefixes))
        total = ranks.sum_(
            torch.cat([sums, torch.stack([(active.values_M > 0).sum(), sums.new_tensor(n)])])
        )
        report, scale_B = _losses(total, len(prefixes), centred_ND.shape[1], alpha, self.rule)
        _gradients_of_errors_in_place(g_BND, scale_B, len(prefixes))
        g_RD = g_BND.flatten(0, 1)
        d_M = kernels.dots(blocks, g_RD, self.W_dec_FD)
        grads = (
            {} if gate is None else {"log_threshold_F": gate.backward(d_M, report.l0, total[-1])}
        )
        order = kernels.by_feature(blocks.features_M, len(self.b_enc_F))
        grads["W_dec_FD"] = kernels.sum_by_feature(order, blocks.values_M, blocks.rows_M, g_RD)
        grads["W_enc_FD"] = kernels.sum_by_feature(order, d_M, rows_M, centred_ND)
        grads["b_enc_F"] = torch.zeros_like(self.b_enc_F).index_add_(0, blocks.features_M, d_M)
        grads["b_dec_D"] = g_BND[0].sum(dim=0) - grads["b_enc_F"] @ self.W_enc_FD
        self._count(active, total[-1], ranks)
        return grads, report

    def _count(self, active: Entries, n_rows: Tensor, ranks: Ranks) -> None:
        fired_F = torch.zeros_like(self.b_enc_F).index_add_(
            0, active.features_M, (active.values_M > 0).to(self.b_enc_F.dtype)
        )
        self.rows_since_fired_F += n_rows.long()
        self.rows_since_fired_F[ranks.sum_(fired_F) > 0] = 0
        if self.rule.activation == "batchtopk":
            values_M = active.values_M
            least = ranks.least_(
                values_M.min() if len(values_M) else values_M.new_full((), torch.inf)
            )
            smoothed = torch.where(
                self.batch_threshold == 0,
                least,
                _SMOOTH * self.batch_threshold + (1 - _SMOOTH) * least,
            )
            self.batch_threshold = torch.where(least.isinf(), self.batch_threshold, smoothed)

    @torch.no_grad()
    def project_gradient(self, gradient_FD: Tensor) -> Tensor:
        """Remove from the decoder's gradient, in place, what would change the length of its
        rows.
        """
        return gradient_FD.addcmul_(
            torch.linalg.vecdot(gradient_FD, self.W_dec_FD)[:, None], self.W_dec_FD, value=-1
        )

    @torch.no_grad()
    def normalise_decoder(self) -> None:
        """Give every decoder row length 1."""
        self.W_dec_FD /= self.W_dec_FD.norm(dim=1, keepdim=True)


class _Gate:
    """JumpReLU of the entries near or above their thresholds, and the pseudo-derivatives by the log
    of the threshold.

    With K(u) = 1 for |u| < 1/2: of the activation - theta / bandwidth K((z - theta) / bandwidth),
    of the step that counts active features the same without theta in front. Source: arXiv
    2407.14435 eqs. 11 and 12.
    """

    def __init__(self, near: Entries, log_threshold_F: Tensor, rule: Rule) -> None:
        self.rule, self.features_M = rule, near.features_M
        self.theta_F = log_threshold_F.exp()
        above_M = near.values_M - self.theta_F.index_select(0, near.features_M)
        self.open_M = above_M > 0
        self.kernel_M = (above_M.abs() < rule.bandwidth / 2).to(above_M.dtype) / rule.bandwidth

    def codes(self, near: Entries) -> Entries:
        return near._replace(values_M=near.values_M * self.open_M)

    def backward(self, d_M: Tensor, l0: Tensor, n_rows: Tensor) -> Tensor:
        """Return the gradient by the log of the threshold, and close `d_M` in place where the gate
        is closed.
        """
        m = len(self.open_M)
        by_step = 2 * self.rule.l0_weight * (l0 / self.rule.k - 1) / (self.rule.k * n_rows)
        by_theta_M = -self.kernel_M * (
            self.theta_F.index_select(0, self.features_M) * d_M[:m] + by_step
        )
        d_M[:m] *= self.open_M
        return self.theta_F * torch.zeros_like(self.theta_F).index_add_(
            0, self.features_M, by_theta_M
        )


def _stack(found: list[Entries], n: int, prefixes: tuple[int, ...]) -> tuple[Entries, Tensor]:
    """Return all entries in blocks of n rows, and the row of the batch [M] of each.

    The blocks are the entries of each prefix that the one before lacks, then those of dead
    features.
    """
    main, *others = found
    rows_M, main = _by_prefix(main, n, prefixes) if len(prefixes) > 1 else (main.rows_M, main)
    if not others:
        return main, rows_M
    (aux,) = others
    starts_R = torch.cat([main.starts_N, aux.starts_N[1:] + main.starts_N[-1]])
    values_M, features_M = (
        torch.cat([main.values_M, aux.values_M]),
        torch.cat([main.features_M, aux.features_M]),
    )
    blocks = Entries(
        values_M, features_M, torch.cat([main.rows_M, aux.rows_M + n * len(prefixes)]), starts_R
    )
    return blocks, torch.cat([rows_M, aux.rows_M])


def _by_prefix(main: Entries, n: int, prefixes: tuple[int, ...]) -> tuple[Tensor, Entries]:
    ends = torch.tensor(prefixes[:-1], dtype=torch.int32, device=main.features_M.device)
    block_M = torch.bucketize(main.features_M, ends, right=True, out_int32=True)
    order_M = stable_order(block_M, len(prefixes))
    values_M, features_M, rows_M, block_M = (
        column.index_select(0, order_M) for column in (*main[:3], block_M)
    )
    in_block_M = rows_M + block_M * n
    return rows_M, Entries(
        values_M, features_M, in_block_M, starts_of(in_block_M, n * len(prefixes))
    )


def _errors_in_place(parts_BND: Tensor, centred_ND: Tensor, n_prefixes: int) -> Tensor:
    """Turn decoded blocks into errors (last, with AuxK: what it leaves of the error of its rows).

    Returns: for the sums over ranks, the squares of each prefix, of AuxK's block and of the error
    there, the sum of the rows [D] and their squares.
    """
    for prefix in range(1, n_prefixes):
        parts_BND[prefix] += parts_BND[prefix - 1]
    parts_BND[:n_prefixes] -= centred_ND
    squares = [torch.dot(part.flatten(), part.flatten()) for part in parts_BND[:n_prefixes]]
    if len(parts_BND) > n_prefixes:
        aux_ND, error_ND = parts_BND[n_prefixes], parts_BND[n_prefixes - 1]
        aux_ND[::AUX_STRIDE] += error_ND[::AUX_STRIDE]  # its other rows are empty
        squares += [aux_ND.square().sum(), error_ND[::AUX_STRIDE].square().sum()]
    return torch.cat(
        [
            torch.stack(squares),
            centred_ND.sum(dim=0),
            torch.dot(centred_ND.flatten(), centred_ND.flatten())[None],
        ]
    )


def _losses(
    total: Tensor, n_prefixes: int, width: int, alpha: float, rule: Rule
) -> tuple[Report, Tensor]:
    """Return the losses and, for each block, what its errors are multiplied by to be gradients."""
    n_active, n = total[-2:].unbind()
    n_squares = len(total) - width - 3
    square_P, sum_D, square = (
        total[:n_prefixes],
        total[n_squares : n_squares + width],
        total[n_squares + width],
    )
    variance = square - sum_D.square().sum() / n
    fvu_P, aux, scale_B = (
        square_P / variance,
        total.new_zeros(()),
        (2 / variance).expand(n_prefixes),
    )
    if n_squares > n_prefixes:
        left, error = total[n_prefixes:n_squares]
        aux, scale_B = left / error, torch.cat([scale_B, (2 * alpha / error)[None]])
    l0 = n_active / n
    l0_loss = rule.l0_weight * (l0 / rule.k - 1).square() if rule.activation == "jumprelu" else 0.0
    return Report(fvu_P.sum() + alpha * aux + l0_loss, fvu_P[-1], l0, aux), scale_B


def _gradients_of_errors_in_place(errors_BND: Tensor, scale_B: Tensor, n_prefixes: int) -> None:
    """Turn errors into the gradient by each block's decoded part, which every longer prefix
    contains.
    """
    for part_ND, scale in zip(errors_BND, scale_B, strict=True):
        part_ND *= scale
    for prefix in reversed(range(n_prefixes - 1)):
        errors_BND[prefix] += errors_BND[prefix + 1]
