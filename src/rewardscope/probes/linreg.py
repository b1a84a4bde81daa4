"""Ridge regression on standardised states in closed form, from sums that are added up shard by shard in float64.

Memory is one shard and a few matrices [D, D], whatever the number of rows.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.storage.files import replacing

# Shape legend: N rows, D width.


class LinearProbe(NamedTuple):
    """A fitted probe, all float64: the prediction is `intercept + ((acts - mean) / scale) @ weights`."""

    weights: Tensor  # [D]
    intercept: float
    mean: Tensor  # [D], of the training rows
    scale: Tensor  # [D], standard deviation of the training rows; 1 where a column is constant

    def predict(self, acts_ND: Tensor) -> Tensor:
        """Return the predictions [N], float64."""
        return (acts_ND.double() - self.mean) / self.scale @ self.weights + self.intercept


class Moments:
    """Sums over rows that are enough for a ridge regression.

    Columns are shifted by the mean of the first rows: residual streams have columns whose mean is far larger than their
    spread, and unshifted sums would lose that spread to rounding.
    """

    def __init__(self, first_ND: Tensor) -> None:
        width = first_ND.shape[1]
        self.shift_D = first_ND.double().mean(dim=0)
        self.n, self.sum_y = 0, 0.0
        self.sum_D = torch.zeros(width, dtype=torch.float64)
        self.cross_D = torch.zeros(width, dtype=torch.float64)  # sum of x y
        self.gram_DD = torch.zeros(width, width, dtype=torch.float64)  # sum of x x'

    def add(self, acts_ND: Tensor, target_N: Tensor) -> None:
        """Add rows and their targets."""
        shifted_ND, target_N = acts_ND.double() - self.shift_D, target_N.double()
        self.n += len(target_N)
        self.sum_y += float(target_N.sum())
        self.sum_D += shifted_ND.sum(dim=0)
        self.cross_D += shifted_ND.T @ target_N
        self.gram_DD.addmm_(shifted_ND.T, shifted_ND)

    def fit(self, *, ridge: float) -> LinearProbe:
        """Minimise `sum (y - prediction)^2 + ridge |weights|^2` over weights and intercept, columns standardised.

        The intercept is not penalised. Raises: BadRecord where a state is not finite; ConfigError where the columns are
        dependent and `ridge` is too small.
        """
        if not self.sum_D.isfinite().all():
            raise BadRecord("some states are NaN or infinite; re-run invoke save-acts with --dtype float32")
        offset_D, mean_y = self.sum_D / self.n, self.sum_y / self.n
        covariance_DD = self.gram_DD / self.n - torch.outer(offset_D, offset_D)
        variance_D, mean_D = covariance_DD.diagonal(), self.shift_D + offset_D
        # Below this a column is constant and its variance is rounding only.
        noise_D = self.n * torch.finfo(torch.float64).eps * (mean_D**2 + offset_D**2)
        scale_D = torch.where(variance_D > noise_D, variance_D.clamp_min(0).sqrt(), 1.0)
        penalised_DD = covariance_DD / torch.outer(scale_D, scale_D) * self.n
        penalised_DD.diagonal().add_(ridge)
        factor_DD, failed = torch.linalg.cholesky_ex(penalised_DD)
        if failed:
            raise ConfigError(f"--ridge {ridge:g}: the columns of {self.n} training rows are dependent; pass a larger --ridge")
        cross_D = (self.cross_D - self.n * offset_D * mean_y) / scale_D
        weights_D = torch.cholesky_solve(cross_D[:, None], factor_DD)[:, 0]
        return LinearProbe(weights=weights_D, intercept=mean_y, mean=mean_D, scale=scale_D)


def fit_ridge(chunks: Iterable[tuple[Tensor, Tensor]], *, ridge: float) -> LinearProbe:
    """Fit a probe to chunks of states [N, D] and targets [N], read once."""
    moments: Moments | None = None
    for acts_ND, target_N in chunks:
        if len(target_N) == 0:
            continue
        moments = moments or Moments(acts_ND)
        moments.add(acts_ND, target_N)
    assert moments is not None, "no training rows"
    return moments.fit(ridge=ridge)


def write_probe(path: Path, probe: LinearProbe, *, key: str) -> None:
    """Write a probe as npz: weights, intercept, mean and scale, and the key of the run that fitted it."""
    weights, mean, scale = (tensor.numpy() for tensor in (probe.weights, probe.mean, probe.scale))
    with replacing(path) as temporary, temporary.open("wb") as out:
        np.savez(out, weights=weights, intercept=probe.intercept, mean=mean, scale=scale, key=key)


def read_probe(path: Path, *, key: str | None = None) -> LinearProbe | None:
    """Read a probe, or return None where there is none, or where it was fitted under another key than `key`."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as saved:
        if key is not None and str(saved["key"]) != key:
            return None
        weights, mean, scale = (torch.from_numpy(saved[name]) for name in ("weights", "mean", "scale"))
        return LinearProbe(weights=weights, intercept=float(saved["intercept"]), mean=mean, scale=scale)
