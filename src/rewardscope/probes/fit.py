"""Fit probes to a stream of features, and predict with them: the same code for the states of a
layer and for every control.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardscope.errors import BadRecord
from rewardscope.probes.linreg import Array, LinearProbe, fit_ridge, predict_all, standardise
from rewardscope.probes.logistic import fit_logistic, warm_start
from rewardscope.probes.moments import NOT_FINITE, Moments, Sums, total

# Shape legend: N rows, D features, K projected features, Y targets.
FeatureBlocks = Callable[[], Iterator[NDArray]]
"""Yields features [N, D], block after block, from the start at every call."""

STATES, SHUFFLED, PROJECTION = "states", "shuffled by position", "random projection"
MAX_PROJECTED = 8


def add_up(source: FeatureBlocks, targets_NY: Array, fold_N: NDArray, *, folds: int) -> list[Sums]:
    """Read all blocks once; return the sums of each fold.

    Raises: BadRecord where a feature is not finite.
    """
    moments, start = Moments(folds=folds), 0
    for block_ND in source():
        end = start + len(block_ND)
        moments.add(block_ND, targets_NY[start:end], fold_N[start:end])
        start = end
    assert start == len(fold_N), (start, len(fold_N))
    return moments.folds()


def fit_probe(
    source: FeatureBlocks,
    value_N: Array,
    fold_N: NDArray,
    *,
    folds: int,
    penalties: Sequence[float],
    classes: bool,
) -> LinearProbe:
    """Fit one probe to the rows whose fold is 0 or more: ridge regression, or logistic regression
    for classes 0 and 1.

    The penalty is chosen over the folds; with one penalty one fold will do. Raises: BadRecord,
    ConfigError.
    """
    sums = add_up(source, value_N[:, None], fold_N, folds=folds)
    return _fit(sums, source, value_N, fold_N, penalties=penalties, classes=classes)[0]


def fit_layer(
    source: FeatureBlocks,
    value_N: Array,
    shuffled_NS: Array,
    fold_N: NDArray,
    *,
    folds: int,
    penalties: Sequence[float],
    classes: bool,
    seed: int,
) -> dict[str, LinearProbe]:
    """Fit the probe of a layer and its controls to the same sums: shuffled targets, numbered, and a
    few random directions.

    Of the standardised states, min(8, D / 8) random directions are taken. For classes, a shuffled
    target gets the first Newton step of the logistic regression. All stand on one scaler. Raises:
    BadRecord, ConfigError.
    """
    how = {"penalties": penalties, "classes": classes}
    sums = add_up(source, np.column_stack([value_N, shuffled_NS]), fold_N, folds=folds)
    states, *shuffled = _fit(sums, source, value_N, fold_N, **how)
    probes = {
        STATES: states,
        **{f"{SHUFFLED} {number}": probe for number, probe in enumerate(shuffled, 1)},
    }
    basis_DK = _random_directions(sums, seed=seed)
    few = [fold.projected(basis_DK) for fold in sums]
    shift_D = sums[0].shift_E[: sums[0].width]
    narrow = _fit(
        few,
        lambda: ((block_ND - shift_D) @ basis_DK for block_ND in source()),
        value_N,
        fold_N,
        **how,
    )[0]
    return {**probes, PROJECTION: _widened(narrow, basis_DK, shift_D, states)}


def predict_chosen(
    source: FeatureBlocks, probes: Sequence[LinearProbe], chosen_N: NDArray
) -> Array:
    """Return the predictions [chosen rows, probes]; the blocks are read once.

    Raises: BadRecord where a feature of a chosen row is not finite.
    """
    parts, start = [], 0
    for block_ND in source():
        end = start + len(block_ND)
        rows = np.flatnonzero(chosen_N[start:end])
        taken_ND = block_ND[rows]
        bad = rows[~np.isfinite(taken_ND.sum(axis=1))]
        if len(bad):
            raise BadRecord(f"row {start + bad[0]}: {NOT_FINITE}")
        parts.append(predict_all(probes, taken_ND))
        start = end
    return np.concatenate(parts)


def _fit(
    sums: list[Sums],
    source: FeatureBlocks,
    value_N: Array,
    fold_N: NDArray,
    *,
    penalties: Sequence[float],
    classes: bool,
) -> list[LinearProbe]:
    """Return a probe for each target of the sums; for classes the first, which is `value_N`, goes
    on after the first Newton step.
    """
    if not classes:
        return fit_ridge(sums, penalties)

    def training() -> Iterator[tuple[NDArray, Array]]:
        start = 0
        for block_ND in source():
            end = start + len(block_ND)
            train_N = fold_N[start:end] >= 0
            yield block_ND[train_N], value_N[start:end][train_N]
            start = end

    first, *others = warm_start(sums, penalties)
    return [fit_logistic(training, first), *others]


def _random_directions(sums: list[Sums], *, seed: int) -> Array:
    """Return Gaussian directions [D, K] of the standardised features."""
    scale_D = standardise(total(sums)).scale
    n_directions = max(1, min(MAX_PROJECTED, len(scale_D) // 8))
    return (
        np.random.default_rng(seed).standard_normal((len(scale_D), n_directions)) / scale_D[:, None]
    )


def _widened(
    narrow: LinearProbe, basis_DK: Array, shift_D: Array, states: LinearProbe
) -> LinearProbe:
    """Return a probe of projected features as one of the features themselves, on the scaler of
    `states`.
    """
    slope_K = narrow.weights / narrow.scale
    slope_D = basis_DK @ slope_K
    intercept = (
        narrow.intercept - float(narrow.mean @ slope_K) + float((states.mean - shift_D) @ slope_D)
    )
    return narrow._replace(
        weights=slope_D * states.scale, intercept=intercept, mean=states.mean, scale=states.scale
    )
