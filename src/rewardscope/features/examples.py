"""Where features fire: per feature the strongest contexts, how strongly it fires, in which steps,
and what reward goes with it.
"""

from typing import NamedTuple

import numpy as np

from rewardscope.features.firing import DataSet, Firings
from rewardscope.records import Estimate
from rewardscope.statistics.intervals import Z_95
from rewardscope.storage.rows import RIGHT, UNKNOWN

# Shape legend: E firings of one feature, P problems, S step bins, H histogram bins.
HISTOGRAM_BINS = 24
STEP_BINS = 16  # steps 1 to 15, then all later ones
MIN_PROBLEMS = 10


class Example(NamedTuple):
    """A context: the tokens [start, end) of a sequence, and the activation at each position in it
    where the feature fires.
    """

    data_set: int
    sequence: int
    position: int  # of the maximum
    start: int
    end: int
    activations: dict[int, float]


class FeatureFirings(NamedTuple):
    """The firings of one feature on one data set, in row order."""

    row_E: np.ndarray
    value_E: np.ndarray


class Contrast(NamedTuple):
    """Means of a quantity at step ends where a feature fires and elsewhere, and their difference.

    A mean is None without rows. The difference is None where a side has rows of fewer than
    MIN_PROBLEMS problems: an interval from so few would look narrower than it is.
    """

    fires: float | None
    elsewhere: float | None
    difference: Estimate | None
    n_fires: int
    n_elsewhere: int
    n_problems: int  # with a step end where it fires


def by_feature(firings: Firings, features: np.ndarray) -> list[FeatureFirings]:
    """Return the firings of each of `features`, in their order."""
    place_F = np.full(firings.n_features, -1)
    place_F[features] = np.arange(len(features))
    kept = np.flatnonzero(place_F[firings.feature_E] >= 0)
    places = place_F[firings.feature_E[kept]]
    kept = kept[np.argsort(places, kind="stable")]  # stable keeps the row order within a feature
    ends = np.bincount(places, minlength=len(features)).cumsum()[:-1]
    return [
        FeatureFirings(firings.row_E[part], firings.value_E[part]) for part in np.split(kept, ends)
    ]


def top_examples(
    per_data_set: list[FeatureFirings], data_sets: list[DataSet], *, n: int, before: int, after: int
) -> list[Example]:
    """Return the `n` strongest contexts of a feature over all data sets, strongest first, at most
    one a trace.
    """
    ranked = []
    for number, (firings, data) in enumerate(zip(per_data_set, data_sets, strict=True)):
        order = np.argsort(-firings.value_E, kind="stable")
        _, first = np.unique(data.rows.sequence_N[firings.row_E[order]], return_index=True)
        ranked += [
            (float(firings.value_E[order[i]]), number, int(order[i])) for i in np.sort(first)[:n]
        ]
    ranked.sort(key=lambda entry: -entry[0])
    return [
        _example(per_data_set[number], data_sets[number], number, at, before, after)
        for _, number, at in ranked[:n]
    ]


def _example(
    firings: FeatureFirings, data: DataSet, number: int, at: int, before: int, after: int
) -> Example:
    """Cut the window round firing `at`; only its neighbours in row order can lie in it."""
    row = int(firings.row_E[at])
    sequence, position = int(data.rows.sequence_N[row]), int(data.rows.token_N[row])
    start, end = (
        max(0, position - before),
        min(len(data.sequences[sequence]["tokens"]), position + after + 1),
    )
    near = slice(*np.searchsorted(firings.row_E, [row - before, row + after + 1]))
    inside = {
        int(data.rows.token_N[r]): float(value)
        for r, value in zip(firings.row_E[near], firings.value_E[near], strict=True)
        if data.rows.sequence_N[r] == sequence and start <= data.rows.token_N[r] < end
    }
    return Example(number, sequence, position, start, end, inside)


def activation_histogram(values_E: np.ndarray) -> np.ndarray:
    """Return counts [H] of activations in equal bins from 0 to the largest."""
    top = float(values_E.max()) if len(values_E) else 1.0
    return np.histogram(values_E, bins=HISTOGRAM_BINS, range=(0.0, top))[0]


def step_counts(step_N: np.ndarray) -> np.ndarray:
    """Return counts [S] by step, the last bin holding every later one; rows before the first step
    are left out.
    """
    return np.bincount(np.minimum(step_N[step_N >= 0], STEP_BINS - 1), minlength=STEP_BINS)


def top_texts(
    per_data_set: list[FeatureFirings], data_sets: list[DataSet], *, n: int
) -> list[tuple[str, float]]:
    """Return the `n` token texts that carry most of a feature's activation, each with its share of
    it.
    """
    mass: dict[str, float] = {}
    for firings, data in zip(per_data_set, data_sets, strict=True):
        mass_by_text = np.bincount(
            data.texts.text_N[firings.row_E],
            weights=firings.value_E,
            minlength=len(data.texts.texts),
        )
        for code in np.argsort(-mass_by_text, kind="stable")[: 4 * n]:
            text = data.texts.texts[code]
            mass[text] = mass.get(text, 0.0) + float(mass_by_text[code])
    total = sum(float(firings.value_E.sum()) for firings in per_data_set)
    best = sorted(mass.items(), key=lambda entry: -entry[1])[:n]
    return [(text, share / total) for text, share in best if share > 0]


class StepEnds(NamedTuple):
    """A quantity at the step ends of all data sets, and the problem of each.

    A row's position here is in `place_DN`, -1 for none.
    """

    value_N: np.ndarray
    problem_N: np.ndarray  # codes over all data sets together
    n_problems: int
    place_DN: list[np.ndarray]


def step_rewards(data_sets: list[DataSet]) -> StepEnds:
    """Return the PRM's score at every step end that has one."""
    return _step_ends(
        data_sets,
        [d.rows.reward_N for d in data_sets],
        [d.rows.step_end_N & d.rows.has_reward_N for d in data_sets],
    )


def step_rights(data_sets: list[DataSet]) -> StepEnds:
    """Return 1 at step ends of right traces and 0 at those of wrong ones, where the grade is
    known.
    """
    known = [d.rows.step_end_N & (d.rows.correct_N != UNKNOWN) for d in data_sets]
    return _step_ends(
        data_sets, [(d.rows.correct_N == RIGHT).astype(np.float32) for d in data_sets], known
    )


def _step_ends(
    data_sets: list[DataSet], values: list[np.ndarray], known: list[np.ndarray]
) -> StepEnds:
    names = {
        name: code
        for code, name in enumerate(dict.fromkeys(p for d in data_sets for p in d.rows.problems))
    }
    found, problems, places, start = [], [], [], 0
    for data, value_N, known_N in zip(data_sets, values, known, strict=True):
        codes = np.array([names[name] for name in data.rows.problems], dtype=np.int64)
        found.append(value_N[known_N].astype(np.float64))
        problems.append(codes[data.rows.problem_N[known_N]])
        places.append(np.where(known_N, start + np.cumsum(known_N) - 1, -1))
        start += len(found[-1])
    return StepEnds(np.concatenate(found), np.concatenate(problems), len(names), places)


def contrast(per_data_set: list[FeatureFirings], ends: StepEnds) -> Contrast:
    """Compare the quantity where a feature fires with the rest.

    The interval is normal, its variance clustered by problem.
    """
    at = np.concatenate(
        [
            place_N[firings.row_E]
            for firings, place_N in zip(per_data_set, ends.place_DN, strict=True)
        ]
    )
    fires_N = np.zeros(len(ends.value_N), dtype=bool)
    fires_N[at[at >= 0]] = True
    n_fires, n_elsewhere = int(fires_N.sum()), int((~fires_N).sum())
    means = [
        float(ends.value_N[side_N].mean()) if side_N.any() else None
        for side_N in (fires_N, ~fires_N)
    ]
    problems = [len(np.unique(ends.problem_N[side_N])) for side_N in (fires_N, ~fires_N)]
    if means[0] is None or means[1] is None or min(problems) < MIN_PROBLEMS:
        return Contrast(means[0], means[1], None, n_fires, n_elsewhere, problems[0])
    residual_N = np.where(
        fires_N, (ends.value_N - means[0]) / n_fires, -(ends.value_N - means[1]) / n_elsewhere
    )
    influence_P = np.bincount(ends.problem_N, weights=residual_N, minlength=ends.n_problems)
    n_problems = len(np.unique(ends.problem_N))
    half = Z_95 * float(np.sqrt((influence_P**2).sum() * n_problems / (n_problems - 1)))
    difference = means[0] - means[1]
    estimate = Estimate(
        value=difference, low=difference - half, high=difference + half, n=n_problems
    )
    return Contrast(means[0], means[1], estimate, n_fires, n_elsewhere, problems[0])
