"""What a layer's page shows, as plain JSON values: texts once, contexts as positions in them,
numbers to four digits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rewardscope.dashboard.text_store import TextStore, short
from rewardscope.features.categories import CATEGORIES
from rewardscope.features.contexts import TopPeaks, fill, of_shown, top_examples
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.features.examples import (
    STEP_BINS,
    Contrast,
    Histograms,
    StepEndSums,
    TextMass,
    add_steps,
    contrast,
    step_counts,
    top_texts,
)
from rewardscope.features.firing import DataSet, FiringFile, FiringSums, RowTexts
from rewardscope.storage.rows import RIGHT, UNKNOWN

# Shape legend: F features, T features that are shown, C token categories, D data sets, S step bins.
BEFORE, AFTER = 24, 12  # tokens of context
N_TEXTS = 6


class LayerFirings(NamedTuple):
    """One data set, encoded by the SAE of the layer."""

    data: DataSet
    sums: FiringSums
    file: FiringFile


class Statistics(NamedTuple):
    """Sums over all data sets: what decides which features are shown."""

    count_DF: np.ndarray
    mass_CF: np.ndarray
    max_F: np.ndarray

    @property
    def mass_F(self) -> np.ndarray:
        return self.mass_CF.sum(axis=0)


def gather(sums: Sequence[FiringSums]) -> Statistics:
    """Add up the firings of every data set."""
    return Statistics(
        np.stack([s.count_PF.sum(axis=0, dtype=np.float64) for s in sums]),
        np.sum([s.mass_CF for s in sums], axis=0),
        np.max([s.max_F for s in sums], axis=0),
    )


def choose_features(
    statistics: Statistics, diffs: Sequence[FeatureDiff], *, top: int, by_diff: bool
) -> np.ndarray:
    """Return at most `top` features that fire: those with the most activation, or with the largest
    difference of firing rates.
    """
    weight_F = statistics.mass_F.copy()
    if by_diff:
        weight_F = np.zeros_like(weight_F)
        for row in diffs:
            weight_F[row.feature] = max(weight_F[row.feature], abs(row.difference))
    order = np.argsort(-weight_F, kind="stable")[:top]
    return order[(weight_F[order] > 0) & (statistics.mass_F[order] > 0)]


class Details:
    """What the rows show of the chosen features, added up as they go by; it does not grow with
    them.
    """

    def __init__(
        self, encoded: Sequence[LayerFirings], features: np.ndarray, max_F: np.ndarray, *, n: int
    ) -> None:
        self._codes = {
            name: code
            for code, name in enumerate(dict.fromkeys(p for e in encoded for p in e.sums.problems))
        }
        self.place_F = np.full(len(max_F), -1, dtype=np.int64)
        self.place_F[features] = np.arange(len(features))
        self.histograms = Histograms(max_F[features])
        self.steps_TS = np.zeros((len(features), STEP_BINS), dtype=np.int64)
        self.steps_S = np.zeros(STEP_BINS, dtype=np.int64)
        self.rewards, self.rights = (StepEndSums(len(features), len(self._codes)) for _ in range(2))
        self.peaks = [TopPeaks(len(features), n) for _ in encoded]
        self.masses = [TextMass() for _ in encoded]
        self.texts: list[Sequence[str]] = []
        for number, one in enumerate(encoded):
            self._add(number, one)

    def _add(self, number: int, one: LayerFirings) -> None:
        texts = RowTexts(one.data)
        codes = np.array([self._codes[name] for name in one.sums.problems], dtype=np.int64)
        for piece in one.file.read():
            rows, firings = piece.rows, of_shown(piece, self.place_F)
            self.steps_S += step_counts(rows.step_N)
            self.histograms.add(firings)
            add_steps(self.steps_TS, firings, rows.step_N)
            self.masses[number].add(firings, texts.read(rows)[0])
            self.peaks[number].add(rows, firings)
            problem_N, correct_N = codes[rows.problem_N], rows.correct_N
            scored_N = rows.step_end_N & rows.has_reward_N
            self.rewards.add(firings, rows.reward_N, scored_N, problem_N)
            graded_N = rows.step_end_N & (correct_N != UNKNOWN)
            self.rights.add(firings, (correct_N == RIGHT).astype(float), graded_N, problem_N)
        self.texts.append(texts.texts)


def layer_data(
    encoded: Sequence[LayerFirings],
    diffs: Sequence[FeatureDiff],
    *,
    top: int,
    by_diff: bool,
    n_examples: int,
) -> dict[str, Any]:
    """Return the features of one layer with their statistics and contexts.

    `diffs` are the rows of this layer.
    """
    data_sets = [one.data for one in encoded]
    statistics = gather([one.sums for one in encoded])
    features = choose_features(statistics, diffs, top=top, by_diff=by_diff)
    details = Details(encoded, features, statistics.max_F, n=n_examples)
    examples = top_examples(
        data_sets, details.peaks, n_shown=len(features), n=n_examples, before=BEFORE, after=AFTER
    )
    for number, one in enumerate(encoded):
        fill(examples, number, one.file.read(), details.place_F)
    texts = TextStore(data_sets, examples)
    pairs = list(dict.fromkeys((row.reasoning, row.instruct) for row in diffs))
    shown = [
        _numbers(feature, place, details, statistics, [len(d.store.rows) for d in data_sets])
        | {
            "reward": _contrast(contrast(details.rewards.of(place))),
            "right": _contrast(contrast(details.rights.of(place))),
            "diffs": [_diff(row, pairs) for row in diffs if row.feature == feature],
            "examples": [texts.place(example) for example in examples[place]],
        }
        for place, feature in enumerate(features.tolist())
    ]
    return {
        "categories": CATEGORIES,
        "pairs": pairs,
        "features": shown,
        "n_firing": int((statistics.mass_F > 0).sum()),
        "data_sets": [_data_set(data) for data in data_sets],
        "step_rows": details.steps_S.tolist(),
        **texts.tables(),
    }


def _numbers(
    feature: int, place: int, details: Details, statistics: Statistics, rows_D: Sequence[int]
) -> dict[str, Any]:
    count_D, mass_C = statistics.count_DF[:, feature], statistics.mass_CF[:, feature]
    mass = mass_C.sum()
    texts = top_texts(place, details.masses, details.texts, total=float(mass), n=N_TEXTS)
    steps = zip(details.steps_TS[place].tolist(), details.steps_S.tolist(), strict=True)
    return {
        "id": feature,
        "rate": short(count_D.sum() / sum(rows_D)),
        "n": int(count_D.sum()),
        "mean": short(mass / count_D.sum()),
        "max": short(statistics.max_F[feature]),
        "mass": short(mass),
        "rates": [short(rate) for rate in count_D / np.array(rows_D)],
        "kinds": [short(share) for share in mass_C / mass],
        "hist": details.histograms.count_TH[place].tolist(),
        "steps": [short(n / rows) if rows else None for n, rows in steps],
        "texts": [[text, short(share)] for text, share in texts],
    }


def _contrast(found: Contrast) -> dict[str, Any]:
    d = found.difference
    interval = None  # also where there are too few problems for bounds
    if d is not None and d.low is not None and d.high is not None:
        interval = [short(d.value), short(d.low), short(d.high), d.n]
    sides = [None if mean is None else short(mean) for mean in (found.fires, found.elsewhere)]
    counts = {
        "n_fires": found.n_fires,
        "n_elsewhere": found.n_elsewhere,
        "n_problems": found.n_problems,
    }
    return {"fires": sides[0], "elsewhere": sides[1], "difference": interval, **counts}


def _diff(row: FeatureDiff, pairs: list[tuple[str, str]]) -> list[Any]:
    return [
        pairs.index((row.reasoning, row.instruct)),
        row.difference,
        row.low,
        row.high,
        row.log2_ratio,
        row.q_value,
        row.favours,
    ]


def _data_set(data: DataSet) -> dict[str, Any]:
    return {
        "name": data.name,
        "rows": len(data.store.rows),
        "problems": len(data.store.problems),
        "traces": len(data.store.sequences),
        "every_token": data.every_token,
    }
