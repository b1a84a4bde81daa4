"""Populations whose quantities are known in closed form, for the coverage of intervals.

Each kind draws `n` problems and returns the estimate that the project would print of them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy.special import beta as beta_function
from scipy.special import ndtr, ndtri

from rewardscope.records import Estimate
from rewardscope.stages.votes import pass_at_k
from rewardscope.statistics.calibration import N_BINS, bin_of, calibration_error
from rewardscope.statistics.draws import Array, Draws, draw
from rewardscope.statistics.intervals import (
    AMOUNT,
    CORRELATION,
    DIFFERENCE,
    EXPLAINED,
    UNIT,
    auroc_estimate,
    interval,
    paired_share,
    share,
)
from rewardscope.statistics.measures import (
    auroc_measure,
    fvu_measure,
    mean,
    pearson_measure,
    r2_measure,
    spearman_measure,
)
from rewardscope.statistics.selection import best_of, lead

# Shape legend: N rows, P problems, U units, D width.
NO_INTERVAL = Estimate(value=math.nan, low=None, high=None, n=0)
_SPREAD = 0.5  # of a row's variance, the part that its problem shares
_WIDTH = 12


class Kind(NamedTuple):
    """A quantity of a population: its name, its true value, and its estimate on `n` problems."""

    name: str
    truth: float
    estimate: Callable[[Generator, int, int], Estimate]
    """From a generator, the number of problems, and the seed of the resamples."""


def problems_of_rows(rng: Generator, n: int) -> np.ndarray:
    """Return the problem of each row: one row at least, 6 on average, of each problem."""
    return np.repeat(np.arange(n), 1 + rng.poisson(5, size=n))


def shared_normal(rng: Generator, problem_N: np.ndarray) -> Array:
    """Return a standard normal value a row, correlated within problems."""
    own_N, common_P = rng.normal(size=len(problem_N)), rng.normal(size=int(problem_N[-1]) + 1)
    return math.sqrt(1 - _SPREAD) * own_N + math.sqrt(_SPREAD) * common_P[problem_N]


def one_row_each(n: int, seed: int) -> Draws:
    return draw(np.arange(n), seed=seed)


# Shares


def share_of_rows(rate: float, strength: float) -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N = problems_of_rows(rng, n)
        chance_P = rng.beta(rate * strength, (1 - rate) * strength, size=n)
        right_N = rng.random(len(problem_N)) < chance_P[problem_N]
        return share(right_N, draw(problem_N, seed=seed))

    return Kind(f"share {rate:g}, several rows a problem", rate, estimate)


def share_of_problems(rate: float) -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        return share(rng.random(n) < rate, one_row_each(n, seed))

    return Kind(f"share {rate:g}, one row a problem", rate, estimate)


def pass_of(k: int, n_samples: int = 8) -> Kind:
    easy, hard = 0.5, 0.9

    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        right_P = rng.binomial(n_samples, rng.beta(easy, hard, size=n))
        passed_P = [pass_at_k(n_samples, int(right), k=k) for right in right_P]
        # one kind of interval at every k of the samples
        return share(passed_P, one_row_each(n, seed), as_fractions=True)

    truth = 1 - beta_function(easy, hard + k) / beta_function(easy, hard)
    return Kind(f"pass@{k} of {n_samples} samples", truth, estimate)


def won_and_lost(won: float, lost: float) -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        drawn_P = rng.random(n)
        return paired_share((drawn_P < won) * 1.0 - (drawn_P > 1 - lost), seed=seed)

    return Kind(f"paired difference of shares, {won + lost:.0%} differ", won - lost, estimate)


def paired_shares_of_four() -> Kind:
    power, shape = 0.8, 1.5

    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        chance_P = rng.beta(shape, shape, size=n)
        a_P, b_P = rng.binomial(4, chance_P**power), rng.binomial(4, chance_P)
        return paired_share((a_P - b_P) / 4, seed=seed)

    truth = beta_function(shape + power, shape) / beta_function(shape, shape) - 0.5
    return Kind("paired difference of shares of 4 samples", truth, estimate)


def few_fractions() -> Kind:
    values = np.array([0.25, 0.5, 0.75, 1.0, -0.25])

    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        difference_P = np.where(rng.random(n) < 0.15, rng.choice(values, size=n), 0.0)
        return paired_share(difference_P, seed=seed)

    return Kind(
        "paired difference of shares, 15% differ by fractions", 0.15 * values.mean(), estimate
    )


# Amounts


def lognormal_mean(sigma: float) -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        draws = one_row_each(n, seed)
        values_N = np.exp(sigma * rng.normal(size=n))
        return interval(mean(values_N, draws), draws, scale=AMOUNT)

    return Kind(f"mean of a lognormal, sigma {sigma:g}", math.exp(sigma**2 / 2), estimate)


def gamma_mean(shape: float) -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        draws = one_row_each(n, seed)
        return interval(mean(rng.gamma(shape, size=n), draws), draws, scale=AMOUNT)

    return Kind(f"mean of a gamma, shape {shape:g}", shape, estimate)


def paired_means() -> Kind:
    gain, sigma = 0.2, 0.5

    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N = problems_of_rows(rng, n)
        draws, base_N = draw(problem_N, seed=seed), np.exp(sigma * rng.normal(size=n))[problem_N]
        a_N, b_N = (
            base_N * factor + 0.3 * shared_normal(rng, problem_N) for factor in (1 + gain, 1)
        )
        return interval(mean(a_N, draws) - mean(b_N, draws), draws)

    return Kind("paired difference of means", gain * math.exp(sigma**2 / 2), estimate)


def variance_left() -> Kind:
    noise, sigma = 0.1, 0.5

    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N = problems_of_rows(rng, n)
        draws, n_rows = draw(problem_N, seed=seed), len(problem_N)
        common_PD = rng.normal(size=(n, _WIDTH))
        state_ND = common_PD[problem_N] + rng.normal(size=(n_rows, _WIDTH))
        loudness_N = np.exp(sigma * rng.normal(size=n))[problem_N]
        error_N = noise * loudness_N * rng.chisquare(_WIDTH, size=n_rows)
        sums_U3 = draws.sums(np.ones(n_rows), error_N, (state_ND**2).sum(axis=1))
        total_UD = draws.sums(*state_ND.T)
        return interval(fvu_measure(sums_U3, total_UD, draws), draws, scale=AMOUNT)

    return Kind("ratio of sums (FVU)", noise * math.exp(sigma**2 / 2) / 2, estimate)


# Predictions of a number: a share of the target, and noise


def _r2(slope: float, noise: float) -> float:
    return 1 - (1 - slope) ** 2 - noise**2


def _predict(rng: Generator, problem_N: np.ndarray, target_N: Array, *, slope: float, noise: float):
    return slope * target_N + noise * shared_normal(rng, problem_N)


def correlations() -> list[Kind]:
    slope, noise = 0.8, 0.7
    pearson = slope / math.hypot(slope, noise)
    found = (
        ("R2", r2_measure, EXPLAINED, _r2(slope, noise)),
        ("Pearson", pearson_measure, CORRELATION, pearson),
        ("Spearman", spearman_measure, CORRELATION, 6 / math.pi * math.asin(pearson / 2)),
    )

    def kind(name: str, measure, scale, truth: float) -> Kind:
        def estimate(rng: Generator, n: int, seed: int) -> Estimate:
            problem_N = problems_of_rows(rng, n)
            draws, target_N = draw(problem_N, seed=seed), shared_normal(rng, problem_N)
            predicted_N = _predict(rng, problem_N, target_N, slope=slope, noise=noise)
            return interval(measure(target_N, predicted_N, draws), draws, scale=scale)

        return Kind(name, truth, estimate)

    return [kind(*each) for each in found]


def margin_over_controls(name: str, slopes: tuple[float, ...]) -> Kind:
    own, noise = 0.8, 0.4

    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N = problems_of_rows(rng, n)
        draws, target_N = draw(problem_N, seed=seed), shared_normal(rng, problem_N)
        measured = [
            r2_measure(
                target_N, _predict(rng, problem_N, target_N, slope=slope, noise=noise), draws
            )
            for slope in (own, *slopes)
        ]
        controls = {str(number): each for number, each in enumerate(measured[1:])}
        return lead(measured[0], controls, draws)[1]

    truth = _r2(own, noise) - max(_r2(slope, noise) for slope in slopes)
    return Kind(f"margin over the best of {len(slopes)} controls, {name}", truth, estimate)


def best_layer(name: str, slopes: tuple[float, ...]) -> Kind:
    noise = 0.5

    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N = problems_of_rows(rng, n)
        draws, target_N = draw(problem_N, seed=seed), shared_normal(rng, problem_N)
        common_N = shared_normal(rng, problem_N)  # what all layers get wrong alike
        layers = {}
        for number, slope in enumerate(slopes):
            wrong_N = (common_N + shared_normal(rng, problem_N)) / math.sqrt(2)
            layers[str(number)] = r2_measure(target_N, slope * target_N + noise * wrong_N, draws)
        return best_of(layers, draws)[1]

    truth = max(_r2(slope, noise) for slope in slopes)
    return Kind(f"best of {len(slopes)} layers, {name}", truth, estimate)


# Predictions of a class


def _labelled(rng: Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    problem_N = problems_of_rows(rng, n)
    return problem_N, shared_normal(rng, problem_N) < 0.3


def auroc_of(gap: float) -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N, right_N = _labelled(rng, n)
        draws, score_N = draw(problem_N, seed=seed), shared_normal(rng, problem_N) + gap * right_N
        return auroc_estimate(auroc_measure(right_N, score_N, draws), right_N, draws)

    truth = float(ndtr(gap / math.sqrt(2)))
    return Kind(f"AUROC {truth:.2f}", truth, estimate)


def auroc_difference() -> Kind:
    gaps = (1.3, 0.9)

    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N, right_N = _labelled(rng, n)
        draws, common_N = draw(problem_N, seed=seed), shared_normal(rng, problem_N)
        a, b = (
            auroc_measure(
                right_N,
                (common_N + shared_normal(rng, problem_N)) / math.sqrt(2) + gap * right_N,
                draws,
            )
            for gap in gaps
        )
        return interval(a - b, draws, scale=DIFFERENCE)

    a, b = (float(ndtr(gap / math.sqrt(2))) for gap in gaps)
    return Kind("difference of two AUROCs", a - b, estimate)


def _forecast(rng: Generator, n: int, power: float) -> tuple[np.ndarray, Array, Array]:
    """Return problems, forecasts uniform on 0 to 1, and what happens with chance
    forecast ** power.
    """
    problem_N = problems_of_rows(rng, n)
    chance_N = ndtr(shared_normal(rng, problem_N))
    happens_N = shared_normal(rng, problem_N) < ndtri(chance_N**power)
    return problem_N, chance_N, happens_N * 1.0


def reliability_bin(number: int, power: float) -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N, chance_N, happens_N = _forecast(rng, n, power)
        inside_N = bin_of(chance_N) == number
        if not inside_N.any():
            return NO_INTERVAL
        return share(happens_N[inside_N], draw(problem_N, seed=seed).among(inside_N))

    low, high = number / N_BINS, (number + 1) / N_BINS
    truth = (high ** (power + 1) - low ** (power + 1)) / (power + 1) * N_BINS
    return Kind(f"reliability bin {low:g} to {high:g}", truth, estimate)


def calibration(name: str, power: float) -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N, chance_N, happens_N = _forecast(rng, n, power)
        return calibration_error(chance_N, happens_N, draw(problem_N, seed=seed))

    # Forecasts are on one side of their chances everywhere, so bins do not cancel.
    return Kind(f"ECE, {name}", abs(1 / 2 - 1 / (power + 1)), estimate)


def brier() -> Kind:
    def estimate(rng: Generator, n: int, seed: int) -> Estimate:
        problem_N, chance_N, happens_N = _forecast(rng, n, 1)
        draws = draw(problem_N, seed=seed)
        return interval(mean((chance_N - happens_N) ** 2, draws), draws, scale=UNIT)

    return Kind("Brier score", 1 / 6, estimate)


KINDS = (
    share_of_rows(0.6, 2.0),
    share_of_problems(0.72),
    share_of_problems(0.03),
    share_of_rows(0.03, 3.0),
    pass_of(4),
    pass_of(8),
    won_and_lost(0.25, 0.15),
    won_and_lost(0.04, 0.02),
    paired_shares_of_four(),
    few_fractions(),
    lognormal_mean(0.5),
    gamma_mean(0.6),
    paired_means(),
    variance_left(),
    *correlations(),
    margin_over_controls("tied", (0.5, 0.5, 0.5, 0.0)),
    margin_over_controls("one ahead", (0.5, 0.3, 0.2, 0.0)),
    best_layer("tied", (0.7, 0.7, 0.7, 0.7, 0.7, 0.7)),
    best_layer("one ahead", (0.2, 0.35, 0.7, 0.5, 0.4, 0.3)),
    auroc_of(1.2),
    auroc_of(3.0),
    auroc_difference(),
    reliability_bin(2, 2.0),
    reliability_bin(9, 2.0),
    brier(),
    calibration("forecasts too high", 2.0),
    calibration("honest forecasts", 1.0),
)
