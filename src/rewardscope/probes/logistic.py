"""Logistic regression with an L2 penalty by iteratively reweighted least squares; each iteration
streams the rows once.

It starts from the ridge solution: a Newton step from the intercept alone is exactly ridge
regression on the classes, with the penalty divided by the variance p(1 - p) of the classes, and the
weights divided by it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.errors import ConfigError
from rewardscope.probes.linreg import Array, LinearProbe, fit_ridge, sigmoid
from rewardscope.probes.moments import Sums, total

# Shape legend: N rows, D features, Y targets, C = D + 1 (features and intercept).
Blocks = Callable[[], Iterator[tuple[NDArray, Array]]]
"""Yields features [N, D] and classes [N] of the training rows, from the start at every call."""

MAX_ITERATIONS = 60
_CONVERGED = 1e-12  # expected gain in log likelihood, a row
_SEPARATED = 1e-8  # log loss, a row, that no finite weights end at


class _Curve(NamedTuple):
    """The penalised negative log likelihood at one point, with its derivatives."""

    n: int
    loss: float
    gradient_C: Array
    hessian_CC: Array


def warm_start(folds: list[Sums], penalties: Sequence[float]) -> list[LinearProbe]:
    """Return the first Newton step for each target, with the penalty that errs least on held-out
    folds as a ridge regression.

    `ridge` of the result is the penalty of the logistic regression, `sum log loss + ridge / 2
    |weights|^2` (C = 1 / ridge).
    """
    whole = total(folds)
    share_Y = whole.shift_E[whole.width :] + whole.product_EE[-1, whole.width : -1] / whole.n
    variance_Y, probes = share_Y * (1 - share_Y), []
    steps = fit_ridge(folds, np.asarray(penalties) / variance_Y[:, None])
    for step, share, variance in zip(steps, share_Y, variance_Y, strict=True):
        # without the rounding of the way there and back
        ridge = min(penalties, key=lambda penalty: abs(penalty - step.ridge * variance))
        logit = float(np.log(share / (1 - share)))
        probes.append(
            step._replace(
                weights=step.weights / variance, intercept=logit, ridge=ridge, link="logit"
            )
        )
    return probes


def fit_logistic(blocks: Blocks, start: LinearProbe) -> LinearProbe:
    """Minimise `sum log loss + ridge / 2 |weights|^2` over weights and intercept, features
    standardised as in `start`.

    Raises: ConfigError where it does not converge, which happens where the classes part completely
    and there is no penalty.
    """
    point_C = np.append(start.weights, start.intercept)
    curve = _curve(blocks, point_C, start)
    for _ in range(MAX_ITERATIONS):
        step_C = -_solve(curve.hessian_CC, curve.gradient_C)
        if curve.loss < _SEPARATED * curve.n and start.ridge == 0:
            break
        if -float(step_C @ curve.gradient_C) / 2 <= _CONVERGED * curve.n:
            return start._replace(
                weights=point_C[:-1] + step_C[:-1], intercept=float(point_C[-1] + step_C[-1])
            )
        shrink, no_better = 1.0, curve.loss * (1 + 1e-12)  # a sum of many terms is not exact
        while (
            not (new := _curve(blocks, point_C + shrink * step_C, start)).loss <= no_better
            and shrink > 1e-6
        ):
            shrink /= 2  # a full step can overshoot where probabilities are near 0 or 1
        point_C, curve = point_C + shrink * step_C, new
    raise ConfigError(
        f"--ridge {start.ridge:g}: the logistic probe does not converge; pass a larger --ridge"
    )


def _curve(blocks: Blocks, point_C: Array, scaler: LinearProbe) -> _Curve:
    """Add up the loss and its derivatives in one pass."""
    C = len(point_C)
    n, loss, gradient_C, hessian_CC = 0, 0.0, np.zeros(C), np.zeros((C, C))
    for features_ND, classes_N in blocks():
        if not len(classes_N):
            continue
        inputs_NC = np.ones((len(classes_N), C))
        np.subtract(features_ND, scaler.mean, out=inputs_NC[:, :-1])
        inputs_NC[:, :-1] /= scaler.scale
        linear_N = inputs_NC @ point_C
        chance_N = sigmoid(linear_N)
        n += len(classes_N)
        loss += float(np.sum(np.logaddexp(0, linear_N) - classes_N * linear_N))
        gradient_C += inputs_NC.T @ (chance_N - classes_N)
        inputs_NC *= np.sqrt(chance_N * (1 - chance_N))[:, None]
        hessian_CC += inputs_NC.T @ inputs_NC
    weights_D = point_C[:-1]
    loss += scaler.ridge / 2 * float(weights_D @ weights_D)
    gradient_C[:-1] += scaler.ridge * weights_D
    hessian_CC[np.arange(C - 1), np.arange(C - 1)] += scaler.ridge
    return _Curve(n, loss, gradient_C, hessian_CC)


def _solve(hessian_CC: Array, gradient_C: Array) -> Array:
    try:
        return np.linalg.solve(hessian_CC, gradient_C).astype(np.float64)
    except np.linalg.LinAlgError:
        raise ConfigError(
            "--ridge: the columns of the training rows are dependent; pass a larger --ridge"
        ) from None
