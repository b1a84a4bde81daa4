"""Ridge regression on standardised features in closed form: a whole path of penalties from one
tridiagonal form.

The penalty is chosen by cross-validation over folds of problems; the sums of a fold are subtracted,
no row is read twice.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.probes.moments import Sums, total, without
from rewardscope.probes.tridiagonal import tridiagonalise
from rewardscope.storage.files import replacing

# Shape legend: N rows, D features, Y targets, R penalties, E = D + Y + 1 (features, targets and 1).
Array = NDArray[np.float64]
Link = Literal["identity", "logit"]


class LinearProbe(NamedTuple):
    """A fitted probe, all float64: the prediction is `intercept + ((acts - mean) / scale) @
    weights`, or its logistic function.
    """

    weights: Array  # [D]
    intercept: float
    mean: Array  # [D], of the training rows
    scale: Array  # [D], standard deviation of the training rows; 1 where a column is constant
    ridge: float = 0.0
    link: Link = "identity"

    def predict(self, acts_ND: NDArray) -> Array:
        """Return the predictions [N], float64: probabilities where the link is logit."""
        return predict_all([self], acts_ND)[:, 0]


def predict_all(probes: Sequence[LinearProbe], acts_ND: NDArray) -> Array:
    """Return the predictions [N, probes] of several probes in one product."""
    # columns with a mean far above their spread keep their digits where they are centred first
    mean_D = probes[0].mean
    slope = np.stack([probe.weights / probe.scale for probe in probes], axis=1)
    offset = [
        probe.intercept - float((probe.mean - mean_D) @ slope[:, place])
        for place, probe in enumerate(probes)
    ]
    linear = (np.asarray(acts_ND, dtype=np.float64) - mean_D) @ slope + offset
    logit = [probe.link == "logit" for probe in probes]
    linear[:, logit] = sigmoid(linear[:, logit])
    return linear


def sigmoid(x: Array) -> Array:
    """Return the logistic function; no value overflows."""
    return 0.5 * (1 + np.tanh(0.5 * x))


class Standardised(NamedTuple):
    """Centred and scaled normal equations of a set of rows: minimise over weights, intercepts
    free.
    """

    mean: Array  # [D]
    scale: Array  # [D]
    mean_Y: Array
    gram_DD: Array  # n times the correlation matrix
    cross_DY: Array


def standardise(sums: Sums) -> Standardised:
    """Return the normal equations from sums; a column that does not vary keeps scale 1."""
    n, D = sums.n, sums.width
    offset_E, mean_D = sums.product_EE[-1] / n, sums.shift_E[:D] + sums.product_EE[-1, :D] / n
    covariance_DE = sums.product_EE[:D] / n - np.outer(offset_E[:D], offset_E)
    variance_D = covariance_DE.diagonal()
    # Below this a column is constant and its variance is rounding only.
    eps = np.finfo(np.float64).eps
    noise_D = n * eps * offset_E[:D] ** 2 + (16 * eps * mean_D) ** 2
    scale_D = np.where(variance_D > noise_D, np.sqrt(np.maximum(variance_D, 0)), 1.0)
    gram_DD = covariance_DE[:, :D] * n / np.outer(scale_D, scale_D)
    cross_DY = covariance_DE[:, D:-1] * n / scale_D[:, None]
    return Standardised(mean_D, scale_D, sums.shift_E[D:] + offset_E[D:-1], gram_DD, cross_DY)


def ridge_path(system: Standardised, ridges_YR: Array) -> Array:
    """Return the weights [D, Y, R] that minimise `sum (y - prediction)^2 + ridge |weights|^2`.

    The intercept is the mean of y and is not penalised. Raises: ConfigError where the columns are
    dependent and a penalty too small.
    """
    reduced, least = tridiagonalise(system.gram_DD), float(ridges_YR.min())
    lowest, highest = reduced.ends()
    if lowest + least <= 10 * np.finfo(np.float64).eps * highest:
        raise ConfigError(
            f"--ridge {least:g}: the columns of the training rows are dependent; pass a larger"
            " --ridge"
        )
    return reduced.solve(system.cross_DY, ridges_YR)


def held_out_errors(folds: list[Sums], ridges_YR: Array) -> Array:
    """Return for each target and penalty the sum of squared errors [Y, R], each fold predicted by a
    fit to the others.
    """
    whole, errors_YR = total(folds), np.zeros(ridges_YR.shape)
    for fold in folds:
        system = standardise(without(whole, fold))
        slope_DYR = ridge_path(system, ridges_YR) / system.scale[:, None, None]
        # The error of a row is its vector (features, targets, 1) times these, so the sum of squares
        # is a quadratic form.
        D, Y = fold.width, fold.n_targets
        errors_EYR = np.zeros((D + Y + 1, *ridges_YR.shape))
        errors_EYR[:D] = -slope_DYR
        errors_EYR[D:-1] = np.eye(Y)[:, :, None]
        errors_EYR[-1] = (
            np.tensordot(system.mean - fold.shift_E[:D], slope_DYR, axes=1)
            - (system.mean_Y - fold.shift_E[D:])[:, None]
        )
        errors_YR += np.einsum(
            "eyr,eyr->yr", errors_EYR, np.tensordot(fold.product_EE, errors_EYR, axes=1)
        )
    return errors_YR


def fit_ridge(folds: list[Sums], ridges: Sequence[float] | Array) -> list[LinearProbe]:
    """Fit a probe for each target to all rows, with the penalty that errs least on held-out folds,
    or with the only one.

    `ridges` are the same [R] for all targets, or those of each [Y, R]. The probes stand on one
    scaler.
    Raises: ConfigError where columns are dependent and a penalty too small.
    """
    ridges_YR = np.broadcast_to(ridges, (folds[0].n_targets, np.shape(ridges)[-1]))
    chosen_Y1 = ridges_YR
    if ridges_YR.shape[1] > 1:
        chosen_Y1 = np.take_along_axis(
            ridges_YR, held_out_errors(folds, ridges_YR).argmin(axis=1)[:, None], axis=1
        )
    system = standardise(total(folds))
    weights_DY = ridge_path(system, chosen_Y1)[:, :, 0]
    return [
        LinearProbe(
            weights=weights_D,
            intercept=float(mean_y),
            mean=system.mean,
            scale=system.scale,
            ridge=float(chosen),
        )
        for weights_D, mean_y, chosen in zip(
            weights_DY.T, system.mean_Y, chosen_Y1[:, 0], strict=True
        )
    ]


def write_probes(path: Path, probes: dict[str, LinearProbe], *, key: str) -> None:
    """Write the probes of a layer as npz: weights, intercept, mean, scale, ridge and link of the
    first, and the key of the run.

    The others stand on the same scaler and follow as `names`, `other_weights`, `other_intercepts`
    and `other_ridges`.
    """
    (_, probe), *others = probes.items()
    with replacing(path) as temporary, temporary.open("wb") as out:
        np.savez(
            out,
            **probe._asdict(),
            key=key,
            names=list(probes),
            other_weights=np.array([other.weights for _, other in others]),
            other_intercepts=np.array([other.intercept for _, other in others]),
            other_ridges=np.array([other.ridge for _, other in others]),
        )


def read_probes(path: Path, *, key: str | None = None) -> dict[str, LinearProbe] | None:
    """Read the probes of a layer, or return None where there are none, or where they were fitted
    under another key than `key`.

    Raises: BadRecord where the file is damaged; with a `key` that counts as none.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return _probes(saved) if key in (None, str(saved["key"])) else None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        if key is not None:
            return None
        raise BadRecord(
            f"{path} is damaged ({error}); re-run invoke train-linreg with --force"
        ) from None


def _probes(saved: Mapping[str, Any]) -> dict[str, LinearProbe]:
    first = LinearProbe(
        weights=saved["weights"],
        intercept=float(saved["intercept"]),
        mean=saved["mean"],
        scale=saved["scale"],
        ridge=float(saved["ridge"]),
        link="logit" if str(saved["link"]) == "logit" else "identity",
    )
    name, *names = map(str, saved["names"])
    others = zip(
        names, saved["other_weights"], saved["other_intercepts"], saved["other_ridges"], strict=True
    )
    more = {
        other: first._replace(weights=w, intercept=float(b), ridge=float(r))
        for other, w, b, r in others
    }
    return {name: first, **more}
