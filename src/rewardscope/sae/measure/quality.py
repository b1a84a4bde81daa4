"""How good an SAE is on problems that it was not trained on: variance left, active features, dead
features, how often each fires.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rewardscope.records import Estimate
from rewardscope.sae.model.inference import Sae
from rewardscope.statistics.draws import Draws, draw
from rewardscope.statistics.intervals import AMOUNT, interval, wilson
from rewardscope.statistics.measures import Measured, fvu_measure, ratio

# Shape legend: N rows, D width, F features, P problems, U units of them.
# log10 of the share of rows in which a feature fires
DENSITY_EDGES = tuple(float(edge) for edge in np.arange(-6, 0.25, 0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Measured on held-out problems.

    fvu: squared error over the squared distance to the mean of these rows, summed over all of them.
    l0: features that fire a row. Both with intervals over problems. dead_share: of the n
    features, those that fire on none of these rows.
    density: features by the share of rows in which they fire, counted between DENSITY_EDGES; the
    dead are in no bin.
    """

    layer: int
    n_rows: int
    n_problems: int
    fvu: Estimate
    l0: Estimate
    dead_share: Estimate
    density: tuple[int, ...]


class MeasuredQuality(NamedTuple):
    """FVU and L0 with their values without each problem."""

    fvu: Measured
    l0: Measured
    draws: Draws


class QualitySums:
    """Sums by problem, in float64, from which the quality follows for any weights of problems."""

    def __init__(self, sae: Sae, *, n_problems: int) -> None:
        self._sae = sae
        self._rows_P, self._active_P, self._error_P, self._square_P = (
            np.zeros(n_problems) for _ in range(4)
        )
        self._total_PD = np.zeros((n_problems, sae.width))
        self._fired_F = torch.zeros(sae.n_features, dtype=torch.int64, device=sae.b_enc_F.device)

    def add(self, x_ND: Tensor, problem_N: np.ndarray) -> None:
        """Encode and decode raw activations [N, D], with the code (below `n_problems`) of each
        row's problem.
        """
        codes = self._sae.encode(x_ND)
        fires_NK = codes.values_NK > 0
        centred_ND, error_ND = (
            (x_ND - other).double().cpu() for other in (self._sae.b_dec_D, self._sae.decode(codes))
        )
        _add(self._rows_P, problem_N, torch.ones(len(x_ND)))
        _add(self._active_P, problem_N, fires_NK.sum(dim=1))
        _add(self._error_P, problem_N, error_ND.square().sum(dim=1))
        _add(self._square_P, problem_N, centred_ND.square().sum(dim=1))
        _add(self._total_PD, problem_N, centred_ND)
        self._fired_F += torch.bincount(codes.indices_NK[fires_NK], minlength=self._sae.n_features)

    @property
    def rate_F(self) -> np.ndarray:
        """The share of the rows in which each feature fired."""
        return self._fired_F.cpu().numpy() / self._rows_P.sum()

    def measured(self, *, seed: int) -> MeasuredQuality:
        """Return FVU and L0 before they have intervals, so that SAEs can be compared."""
        seen = np.flatnonzero(self._rows_P)
        draws = draw(seen, seed=seed)
        rows, active, error, square = (
            sums_P[seen] for sums_P in (self._rows_P, self._active_P, self._error_P, self._square_P)
        )
        total_UD = np.zeros((draws.n_units, self._sae.width))
        np.add.at(total_UD, draws.unit_N, self._total_PD[seen])
        fvu = fvu_measure(draws.sums(rows, error, square), total_UD, draws)
        return MeasuredQuality(fvu, ratio(active, rows, draws), draws)

    def quality(self, *, seed: int) -> Quality:
        """Return the quality on all rows that were added."""
        fvu, l0, draws = self.measured(seed=seed)
        n_rows = int(self._rows_P.sum())
        fired_F = self._fired_F.cpu().numpy()
        density, _ = np.histogram(np.log10(fired_F[fired_F > 0] / n_rows), bins=DENSITY_EDGES)
        return Quality(
            layer=self._sae.layer,
            n_rows=n_rows,
            n_problems=draws.n_problems,
            fvu=interval(fvu, draws, scale=AMOUNT),
            l0=interval(l0, draws, scale=AMOUNT),
            dead_share=wilson(int((fired_F == 0).sum()), len(fired_F)),
            density=tuple(density.tolist()),
        )


def _add(sums_P: np.ndarray, problem_N: np.ndarray, values_N: Tensor) -> None:
    """Add values to the sums of their problems, in place."""
    torch.from_numpy(sums_P).index_add_(0, torch.from_numpy(problem_N), values_N.double().cpu())
