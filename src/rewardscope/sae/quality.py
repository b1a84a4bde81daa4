"""How good an SAE is on problems that it was not trained on: variance left, active features, dead features."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rewardscope.records import Estimate
from rewardscope.sae.checkpoint import Sae
from rewardscope.statistics import wilson

# Shape legend: N rows, D width, F features, P problems, R resamples.
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Measured on held-out problems.

    fvu: squared error over the squared distance to the mean of these rows, summed over all of them. l0: features that fire a
    row. Both bounded by a bootstrap over problems. dead_share: of the n features, those that fire on none of these rows.
    """

    layer: int
    n_rows: int
    n_problems: int
    fvu: Estimate
    l0: Estimate
    dead_share: Estimate


def measure_quality(sae: Sae, batches: Iterable[tuple[Tensor, np.ndarray]], *, n_problems: int, seed: int) -> Quality:
    """Measure on batches of raw activations [N, D] with the code (below `n_problems`) of each row's problem."""
    sums = _Sums(n_problems, sae.width)
    fired_F = torch.zeros(sae.n_features, dtype=torch.bool)
    for x_ND, problem_N in batches:
        codes = sae.encode(x_ND)
        error_ND = x_ND - sae.decode(codes)
        sums.add(problem_N, centred_ND=(x_ND - sae.b_dec_D), error_ND=error_ND, active_N=(codes.values_NK > 0).sum(dim=1))
        fired_F[codes.indices_NK[codes.values_NK > 0].cpu()] = True
    seen = sums.rows_P > 0
    ones = np.ones((1, int(seen.sum())))
    draws_RP = np.random.default_rng(seed).multinomial(ones.size, np.full(ones.size, 1 / ones.size), size=_RESAMPLES).astype(float)
    fvu, l0 = (_estimate(at(seen, ones), at(seen, draws_RP), ones.size) for at in (sums.fvu, sums.l0))
    n_dead = int((~fired_F).sum())
    return Quality(
        layer=sae.layer, n_rows=int(sums.rows_P.sum()), n_problems=ones.size, fvu=fvu, l0=l0, dead_share=wilson(n_dead, sae.n_features)
    )


def _estimate(value_1: np.ndarray, drawn_R: np.ndarray, n: int) -> Estimate:
    low, high = np.quantile(drawn_R, [0.025, 0.975])
    return Estimate(value=float(value_1[0]), low=float(low), high=float(high), n=n)


class _Sums:
    """Sums by problem, in float64, from which FVU and L0 follow for any weights of problems."""

    def __init__(self, n_problems: int, width: int) -> None:
        self.rows_P, self.active_P, self.error_P, self.square_P = (np.zeros(n_problems) for _ in range(4))
        self.total_PD = np.zeros((n_problems, width))

    def add(self, problem_N: np.ndarray, *, centred_ND: Tensor, error_ND: Tensor, active_N: Tensor) -> None:
        centred, error = (x.double().cpu().numpy() for x in (centred_ND, error_ND))
        np.add.at(self.rows_P, problem_N, 1)
        np.add.at(self.active_P, problem_N, active_N.cpu().numpy())
        np.add.at(self.error_P, problem_N, (error**2).sum(axis=1))
        np.add.at(self.square_P, problem_N, (centred**2).sum(axis=1))
        np.add.at(self.total_PD, problem_N, centred)

    def fvu(self, seen_P: np.ndarray, weights_RP: np.ndarray) -> np.ndarray:
        rows_R, error_R, square_R = (weights_RP @ sums[seen_P] for sums in (self.rows_P, self.error_P, self.square_P))
        mean_square_R = ((weights_RP @ self.total_PD[seen_P]) ** 2).sum(axis=1) / rows_R
        return error_R / (square_R - mean_square_R)

    def l0(self, seen_P: np.ndarray, weights_RP: np.ndarray) -> np.ndarray:
        return (weights_RP @ self.active_P[seen_P]) / (weights_RP @ self.rows_P[seen_P])
