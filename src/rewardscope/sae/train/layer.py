"""The SAE of one layer in training, and the gradients of one batch, written out: no graph, nothing
dense after the encoder.

Sources: AuxK arXiv 2406.04093 section A.2; the activation functions say theirs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from rewardscope.sae.train.activations import Activation
from rewardscope.sae.train.blocks import (
    AUX_STRIDE,
    Report,
    errors_in_place,
    gradients_of_errors_in_place,
    losses,
    stack_blocks,
)
from rewardscope.sae.train.freeze import TRAINED_WHOLE, Freeze, pull_back
from rewardscope.sae.train.pickers import OnSubset, Picker, TopOfRow, encode
from rewardscope.sae.train.ranks import Ranks
from rewardscope.sae.train.sparse import Entries, Kernels

# Shape legend: N rows, D width, F features, M stored entries, B blocks of N rows, R all their rows.
_WEIGHTS = ("W_enc_FD", "b_enc_F", "W_dec_FD", "b_dec_D")


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """How one layer is trained. `k`: features that may be active a row, or are aimed at.

    k_aux: dead features a row that AuxK uses. bf16: the encoder's product is made of bfloat16
    copies; weights, gradients and everything sparse stay float32.
    """

    activation: Activation
    k: int
    k_aux: int
    bf16: bool
    freeze: Freeze = TRAINED_WHOLE


class LayerSae:
    """One SAE in training. W_dec has unit rows, and dead features are counted in rows.

    `extra` holds the tensors of its activation function.
    """

    def __init__(
        self, width: int, n_features: int, *, options: LayerOptions, random: torch.Generator
    ) -> None:
        assert options.k > 0 and options.k + options.k_aux <= n_features, (options, n_features)
        self.options = options
        self.prefix_ends = options.activation.prefix_ends(n_features)
        assert self.prefix_ends[-1] == n_features, (self.prefix_ends, n_features)
        self.W_dec_FD = normalize(torch.randn(n_features, width, generator=random), dim=1)
        self.W_enc_FD = self.W_dec_FD.clone()
        self.b_enc_F = torch.zeros(n_features)
        self.b_dec_D = torch.zeros(width)
        self.extra = options.activation.extra(n_features)
        self.rows_since_fired_F = torch.zeros(n_features, dtype=torch.int64)
        # of a soft-frozen decoder: where its rows started
        self.start_dec_FD = self.W_dec_FD.clone() if options.freeze.kind == "soft-decoder" else None

    @property
    def k(self) -> int:
        return self.options.k

    @property
    def width(self) -> int:
        return len(self.b_dec_D)

    def parameters(self) -> dict[str, Tensor]:
        """Return the tensors that are trained, by name."""
        frozen = self.options.freeze.weights
        return {name: getattr(self, name) for name in _WEIGHTS if name not in frozen} | self.extra

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that decides how training goes on, by name."""
        start = {} if self.start_dec_FD is None else {"start_dec_FD": self.start_dec_FD}
        return {
            **{name: getattr(self, name) for name in _WEIGHTS},
            **self.extra,
            **start,
            "rows_since_fired_F": self.rows_since_fired_F,
        }

    def to(self, device: torch.device | torch.dtype) -> "LayerSae":
        """Move the tensors to a device or type, in place."""
        for name, tensor in self.tensors().items():
            moves = isinstance(device, torch.device) or tensor.is_floating_point()
            moved = tensor.to(device) if moves else tensor
            if name in self.extra:
                self.extra[name] = moved
            else:
                setattr(self, name, moved)
        return self

    def picked(self, centred_ND: Tensor, picker: Picker) -> Entries:
        """Return the entries that a picker chooses of rows without the decoder's bias."""
        return encode(centred_ND, self.W_enc_FD, self.b_enc_F, [picker], bf16=False)[0]

    def _pickers(self, n_rows: int, dead: Tensor | None, ranks: Ranks) -> list[Picker | OnSubset]:
        """Return the choice for a batch with `n_rows` rows here, and the one of its dead features
        (by index) where there are any.
        """
        main = self.options.activation.picker(self, n_rows, ranks=ranks)
        k_aux = 0 if dead is None else min(self.options.k_aux, len(dead))
        if dead is None or not k_aux:
            return [main]
        return [main, OnSubset(TopOfRow(k_aux), dead, row_stride=AUX_STRIDE)]

    @torch.no_grad()
    def gradients(
        self, x_ND: Tensor, *, dead: Tensor | None, alpha: float, kernels: Kernels, ranks: Ranks
    ) -> tuple[dict[str, Tensor], Report]:
        """Return the gradients of the loss by parameter, still to be summed over `ranks`, and count
        which features fired.

        The loss is fvu, the squared error over the batch's variance (summed over prefixes), plus
        what the activation function adds, plus `alpha` times AuxK's: the share of the error of some
        rows, taken as a constant, that the features `dead` leave when they reconstruct it.
        """
        n, n_prefixes, activation = len(x_ND), len(self.prefix_ends), self.options.activation
        centred_ND = x_ND - self.b_dec_D
        picked, *others = encode(
            centred_ND,
            self.W_enc_FD,
            self.b_enc_F,
            self._pickers(n, dead, ranks),
            bf16=self.options.bf16,
        )
        gate = activation.gate(self, picked)
        active = gate.codes
        blocks, rows_M = stack_blocks([active, *others], n, self.prefix_ends)
        g_BND = kernels.decode(blocks, self.W_dec_FD).view(-1, n, self.width)
        sums = errors_in_place(g_BND, centred_ND, n_prefixes)
        total = ranks.sum_(
            torch.cat([sums, torch.stack([(active.values_M > 0).sum(), sums.new_tensor(n)])])
        )
        report, scale_B = losses(total, n_prefixes, self.width, alpha)
        report = report._replace(loss=report.loss + activation.l0_loss(self, report.l0))
        gradients_of_errors_in_place(g_BND, scale_B, n_prefixes)
        g_RD = g_BND.flatten(0, 1)
        d_M = kernels.dots(blocks, g_RD, self.W_dec_FD)
        grads = gate.backward(d_M, report.l0, total[-1])
        order = kernels.by_feature(blocks.features_M, len(self.b_enc_F))
        frozen = self.options.freeze.weights
        if "W_dec_FD" not in frozen:
            grads["W_dec_FD"] = kernels.sum_by_feature(order, blocks.values_M, blocks.rows_M, g_RD)
        if "W_enc_FD" not in frozen:
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

    @torch.no_grad()
    def project_gradient(self, grads: dict[str, Tensor]) -> None:
        """Remove from the decoder's gradient, in place, what would change the length of its
        rows.
        """
        if "W_dec_FD" in grads:
            along_F1 = torch.linalg.vecdot(grads["W_dec_FD"], self.W_dec_FD)[:, None]
            grads["W_dec_FD"].addcmul_(along_F1, self.W_dec_FD, value=-1)

    @torch.no_grad()
    def constrain(self) -> None:
        """Give every decoder row length 1, and bring it back where it may not go."""
        if "W_dec_FD" in self.options.freeze.weights:
            return
        self.W_dec_FD /= self.W_dec_FD.norm(dim=1, keepdim=True)
        if self.start_dec_FD is not None:
            pull_back(self.W_dec_FD, self.start_dec_FD, cosine=self.options.freeze.cosine)
