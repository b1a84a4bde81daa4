"""JumpReLU: what is above its feature's trained threshold. Source: arXiv 2407.14435.

With K(u) = 1 for |u| < 1/2, the pseudo-derivative of the activation by the threshold theta is
-theta / bandwidth K((z - theta) / bandwidth), and that of the step which counts active features the
same without theta in front (eqs. 11 and 12). Trained is the log of theta.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardscope.errors import ConfigError
from rewardscope.sae.train.activations.base import Activation
from rewardscope.stage import option

if TYPE_CHECKING:
    from torch import Tensor

    from rewardscope.sae.train.layer import LayerSae
    from rewardscope.sae.train.pickers import Picker
    from rewardscope.sae.train.ranks import Ranks
    from rewardscope.sae.train.sparse import Entries

LOG_THRESHOLD = "log_threshold_F"


@dataclass(frozen=True, kw_only=True)
class JumpReluFlags:
    """The flags of JumpReLU. Raises: ConfigError for a value that cannot be."""

    l0_weight: float = option(
        1.0,
        help="of jumprelu: weight of (L0 / k - 1)^2 beside the fraction of variance unexplained",
    )
    bandwidth: float = option(
        0.002, help="of jumprelu: width of the kernel around thresholds, for states of length 1"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.l0_weight < float("inf"):
            raise ConfigError(f"--l0-weight {self.l0_weight}: it must be 0 or more")
        if not 0 < self.bandwidth < float("inf"):
            raise ConfigError(f"--bandwidth {self.bandwidth}: it must be above 0")


@dataclass(frozen=True, kw_only=True)
class JumpRelu(JumpReluFlags, Activation):
    """A threshold for each feature, the same in training and after; k is what L0 is drawn to."""

    name = "jumprelu"

    def _kernel_width(self, layer: "LayerSae") -> float:
        return self.bandwidth * math.sqrt(layer.width)  # as rows have mean square length D

    def picker(self, layer: "LayerSae", n_rows: int, *, ranks: "Ranks") -> "Picker":
        """Those just below their threshold too: they have a part in its gradient."""
        from rewardscope.sae.train.pickers import AboveFloor

        return AboveFloor(layer.extra[LOG_THRESHOLD].exp() - self._kernel_width(layer) / 2)

    def extra(self, n_features: int) -> "dict[str, Tensor]":
        import torch

        return {LOG_THRESHOLD: torch.zeros(n_features)}

    def start(self, layer: "LayerSae", centred_ND: "Tensor") -> None:
        """Start with one threshold for all features, at which k are active a row."""
        from rewardscope.sae.train.pickers import TopOfBatch

        active = layer.picked(centred_ND, TopOfBatch(layer.k, len(centred_ND)))
        layer.extra[LOG_THRESHOLD].fill_(float(active.values_M.min().log()))

    def gate(self, layer: "LayerSae", picked: "Entries") -> "_Jump":
        theta_F = layer.extra[LOG_THRESHOLD].exp()
        width = self._kernel_width(layer)
        return _Jump(picked, theta_F, width=width, k=layer.k, l0_weight=self.l0_weight)

    def l0_loss(self, layer: "LayerSae", l0: "Tensor") -> "Tensor | float":
        return self.l0_weight * (l0 / layer.k - 1).square()

    def threshold(self, extra: "Mapping[str, Tensor]") -> "Tensor | None":
        return extra[LOG_THRESHOLD].exp()


class _Jump:
    """JumpReLU of the entries near or above their thresholds."""

    def __init__(
        self, near: "Entries", theta_F: "Tensor", *, width: float, k: int, l0_weight: float
    ) -> None:
        self._theta_F, self._features_M = theta_F, near.features_M
        self._k, self._l0_weight = k, l0_weight
        above_M = near.values_M - theta_F.index_select(0, near.features_M)
        self._open_M = above_M > 0
        self._kernel_M = (above_M.abs() < width / 2).to(above_M.dtype) / width
        self.codes = near._replace(values_M=near.values_M * self._open_M)

    def backward(self, d_M: "Tensor", l0: "Tensor", n_rows: "Tensor") -> "dict[str, Tensor]":
        """Close `d_M` where the gate is closed."""
        m = len(self._open_M)
        by_step = 2 * self._l0_weight * (l0 / self._k - 1) / (self._k * n_rows)
        by_theta_M = -self._kernel_M * (
            self._theta_F.index_select(0, self._features_M) * d_M[:m] + by_step
        )
        d_M[:m] *= self._open_M
        by_theta_F = self._theta_F.new_zeros(self._theta_F.shape)
        return {
            LOG_THRESHOLD: self._theta_F * by_theta_F.index_add_(0, self._features_M, by_theta_M)
        }
