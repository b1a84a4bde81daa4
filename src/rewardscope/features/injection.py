"""How much of a feature's activation on reasoning comes back where its tokens are put into other
text, beside random tokens of like frequency.

Solutions are cut into windows of about equal length; every window gets one n-gram at a random
place. The activation of a window is its maximum. So neither the length of a text nor how often a
feature fires decides, only how strong it is where its tokens are:

    share = (injected - plain) / (reasoning - plain)

with the mean over the windows of reasoning text in which the feature fires, and over all windows of
the instruct text before and after the injection. What counts is the net share: that of the
feature's tokens less that of the control, at the same places.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.features.injection_table import STRATEGIES, Strategy, Verdict
from rewardscope.features.injection_units import FiredTokens, Injectable
from rewardscope.records import Estimate
from rewardscope.statistics.draws import Array, Draws, draw
from rewardscope.statistics.intervals import MIN_PROBLEMS, Z_95, interval
from rewardscope.statistics.measures import Measured, of_sums
from rewardscope.statistics.selection import MIN_SELECTED, best_of
from rewardscope.storage.files import replacing

# Shape legend: T texts, L tokens of a solution, W windows of a text, F features, P problems, S
# strategies, K columns.
TOKEN_DRIVEN, CONTEXT = 0.5, 0.2
"""A net share surely at least the first is token-driven, surely below the second
context-dependent.
"""


class Text(NamedTuple):
    """An input of the model; its solution is ids[start:stop]."""

    problem: str
    ids: tuple[int, ...]
    start: int
    stop: int


class Variant(NamedTuple):
    """A text with something in it, and the window of each token of its solution."""

    ids: tuple[int, ...]
    window_L: NDArray[np.int64]


class ReasoningPeaks(NamedTuple):
    """Maxima of windows of reasoning text where a feature fires: their sums and how many there
    are.
    """

    problems: Sequence[str]
    sum_PF: NDArray[np.float64]
    n_PF: NDArray


class Injected(NamedTuple):
    """Maxima of windows of instruct texts, added up; NaN where a feature lacks a strategy."""

    problems: Sequence[str]
    """Of each text."""
    windows_T: NDArray
    plain_TF: NDArray[np.float64]
    injected_STF: NDArray[np.float64]
    control_STF: NDArray[np.float64]


class Outcome(NamedTuple):
    """What injection says of a feature. The shares of each strategy are by themselves; `best` is
    the largest net share, its interval corrected for the choice.
    """

    reasoning: float
    plain: float
    shares: Mapping[Strategy, Estimate]
    controls: Mapping[Strategy, Estimate]
    nets: Mapping[Strategy, Estimate]
    strategy: Strategy | None
    best: Estimate | None
    verdict: Verdict
    reason: str | None


def windows(length: int, size: int) -> NDArray[np.int64]:
    """Return the window of each of `length` tokens: as many of equal length as are nearest to
    `size` tokens each, at least one.
    """
    return np.arange(length) * max(1, round(length / size)) // max(1, length)


def reasoning_peaks(fired: FiredTokens, *, size: int) -> ReasoningPeaks:
    """Return the maxima of the windows of each solution, by problem."""
    n_problems, n_features = len(fired.problems), fired.n_features
    starts = np.flatnonzero(np.append(True, np.diff(fired.sequence_N) != 0))
    lengths = np.diff(np.append(starts, len(fired.sequence_N)))
    window_N = np.concatenate([windows(length, size) for length in lengths.tolist()])
    n_windows = window_N[starts + lengths - 1] + 1
    first = np.cumsum(n_windows) - n_windows
    window_N += np.repeat(first, lengths)
    peak = np.zeros(int(n_windows.sum()) * n_features, dtype=np.float32)
    np.maximum.at(peak, window_N[fired.row_E] * n_features + fired.place_E, fired.value_E)
    peak_WF = peak.reshape(-1, n_features)
    problem_W = np.repeat(fired.problem_N[starts], n_windows)
    sum_PF, n_PF = np.zeros((n_problems, n_features)), np.zeros((n_problems, n_features), "i8")
    np.add.at(sum_PF, problem_W, peak_WF)
    np.add.at(n_PF, problem_W, peak_WF > 0)
    return ReasoningPeaks(fired.problems, sum_PF, n_PF)


def draw_gaps(window_L: NDArray, rng: np.random.Generator) -> list[int]:
    """Return for each window a random token before which something is put."""
    counts = np.bincount(window_L)
    starts = np.cumsum(counts) - counts
    return (starts + rng.integers(0, counts)).tolist()


def plan_units(
    given: Injectable, n_windows: int, rng: np.random.Generator
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return what goes into each window, and what the control puts there: for each of the feature's
    n-grams one of like frequency.
    """
    chosen = rng.integers(0, len(given.units), n_windows).tolist()
    controls = [given.controls[unit][rng.integers(len(given.controls[unit]))] for unit in chosen]
    return [given.units[unit] for unit in chosen], controls


def put_in(
    text: Text, window_L: NDArray, gaps: Sequence[int], units: Sequence[tuple[int, ...]]
) -> Variant:
    """Return the text with a unit before each gap; its tokens belong to the window of the gap."""
    ids, of_window, at = list(text.ids[: text.start]), [], 0
    solution = text.ids[text.start : text.stop]
    for gap, unit in zip([*gaps, len(solution)], [*units, ()], strict=True):
        ids += solution[at:gap] + tuple(unit)
        of_window += window_L[at:gap].tolist() + [window_L[min(gap, len(window_L) - 1)]] * len(unit)
        at = gap
    return Variant((*ids, *text.ids[text.stop :]), np.array(of_window, dtype=np.int64))


def judge(peaks: ReasoningPeaks, found: Injected, place: int, *, seed: int) -> Outcome:
    """Return what the injection says of one feature, over the problems of both sides."""
    names = list(dict.fromkeys((*peaks.problems, *found.problems)))
    code = {name: number for number, name in enumerate(names)}
    problem_N = np.array([code[name] for name in (*peaks.problems, *found.problems)])
    draws = draw(problem_N, seed=seed)
    n_reasoning = int((peaks.n_PF[:, place] > 0).sum())
    n = min(n_reasoning, len(set(found.problems)))

    def measured(top: Sequence[NDArray]) -> Measured:
        """Return a share whose numerator is the difference of two columns of the texts."""
        columns = [_after(peaks, values_T) for values_T in top]
        sums = draws.sums(*columns, *_levels(peaks, found, place))
        share = of_sums(_share_of_sums, sums, draws)
        return Measured(value=share.value, without_U=share.without_U, n=n)

    plain_T = found.plain_TF[:, place]
    has = [s for s in range(len(STRATEGIES)) if np.isfinite(found.injected_STF[s, :, place]).all()]
    shares, controls, nets = {}, {}, {}
    for s in has:
        injected_T, control_T = (
            each[s, :, place] for each in (found.injected_STF, found.control_STF)
        )
        shares[STRATEGIES[s]] = measured((injected_T, plain_T))
        controls[STRATEGIES[s]] = measured((control_T, plain_T))
        nets[STRATEGIES[s]] = measured((injected_T, control_T))
    surplus = _surplus(draws.sums(*_levels(peaks, found, place)), draws, n)
    reasoning = float(peaks.sum_PF[:, place].sum() / max(1, peaks.n_PF[:, place].sum()))
    strategy, best = _best(nets, draws)
    reason = _why_not(surplus, best)
    return Outcome(
        reasoning,
        float(plain_T.sum() / found.windows_T.sum()),
        _each(shares, draws),
        _each(controls, draws),
        _each(nets, draws),
        strategy,
        best,
        "undecided" if reason or best is None else verdict_of(best),
        reason,
    )


def _each(measured: Mapping[Strategy, Measured], draws: Draws) -> dict[Strategy, Estimate]:
    return {name: interval(one, draws) for name, one in measured.items()}


def _after(peaks: ReasoningPeaks, values_T: NDArray) -> Array:
    """Return a column of texts behind zeros for the problems of reasoning text."""
    return np.concatenate([np.zeros(len(peaks.problems)), values_T])


def _levels(peaks: ReasoningPeaks, found: Injected, place: int) -> list[Array]:
    """Return columns: maxima and windows of reasoning text, then of the plain text."""
    nothing_T = np.zeros(len(found.problems))
    return [
        np.concatenate([peaks.sum_PF[:, place], nothing_T]),
        np.concatenate([peaks.n_PF[:, place], nothing_T]),
        _after(peaks, found.plain_TF[:, place]),
        _after(peaks, found.windows_T),
    ]


def _share_of_sums(sums: Array) -> Array:
    one, other, peak, n_peaks, plain, n_windows = np.moveaxis(sums, -1, 0)
    return ((one - other) / n_windows) / (peak / n_peaks - plain / n_windows)


def _best(
    nets: Mapping[Strategy, Measured], draws: Draws
) -> tuple[Strategy | None, Estimate | None]:
    """Return the strategy with the largest net share, and the interval of the truly largest,
    corrected for the choice.

    No end is nearer than what would go unseen among n problems: that in z^2 / (n + z^2) of them,
    Wilson's bound of a share of which there is none, all would come back. Where all problems are
    alike that is the interval.
    """
    if not nets:
        return None, None
    strategy = max(nets, key=lambda name: nets[name].value)
    best = Estimate(value=nets[strategy].value, low=None, high=None, n=nets[strategy].n)
    known = all(np.isfinite(net.without_U).all() for net in nets.values())
    if best.n < MIN_SELECTED or not known:
        return strategy, best
    alike = [net.value for net in nets.values() if interval(net, draws).low is None]
    varying = {str(name): net for name, net in nets.items() if interval(net, draws).low is not None}
    found = [Estimate(value=value, low=value, high=value, n=best.n) for value in alike]
    found += [best_of(varying, draws)[1]] if varying else []
    unseen, ends = Z_95**2 / (best.n + Z_95**2), []
    for each in found:
        if each.low is None or each.high is None:
            return strategy, best
        ends.append((min(each.low, each.value - unseen), max(each.high, each.value + unseen)))
    low, high = (max(end) for end in zip(*ends, strict=True))
    return strategy, dataclasses.replace(best, low=low, high=high)


def _surplus(sums_UK: Array, draws: Draws, n: int) -> Estimate:
    """Return how far the feature is above the plain text where it fires on reasoning text."""
    found = of_sums(
        lambda sums: sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3], sums_UK, draws
    )
    estimate = interval(Measured(value=found.value, without_U=found.without_U, n=n), draws)
    if estimate.low is None and n >= MIN_PROBLEMS and np.isfinite(found.without_U).all():
        # it is the same in all problems
        return dataclasses.replace(estimate, low=estimate.value, high=estimate.value)
    return estimate


def _why_not(surplus: Estimate, best: Estimate | None) -> str | None:
    if not np.isfinite(surplus.value):
        return "it does not fire on the reasoning text"
    if best is None:
        return "nothing to inject: none of its tokens is frequent enough"
    if surplus.low is None or best.low is None or best.high is None:
        return "too few problems"
    if surplus.low <= 0:
        return "it is not stronger on the reasoning text"
    return None if verdict_of(best) != "undecided" else "the interval spans more than one verdict"


def verdict_of(net: Estimate) -> Verdict:
    """Return what the interval of a net share decides."""
    if net.low is None or net.high is None:
        return "undecided"
    if net.low >= TOKEN_DRIVEN:
        return "token-driven"
    if net.high < CONTEXT:
        return "context-dependent"
    return "partly" if net.low >= CONTEXT else "undecided"


def write_injected(path: Path, found: Injected) -> None:
    """Write the sums of a layer."""
    with replacing(path) as temporary, temporary.open("wb") as out:
        np.savez(out, allow_pickle=False, **found._asdict())


def read_injected(path: Path) -> Injected:
    """Read the sums of a layer."""
    with np.load(path, allow_pickle=False) as held:
        columns = {name: held[name] for name in Injected._fields}
    return Injected(**columns | {"problems": columns["problems"].tolist()})
