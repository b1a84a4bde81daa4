"""What a layer's page shows, as plain JSON values: texts once, contexts as positions in them,
numbers to four digits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rewardscope.features.categories import CATEGORIES
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.features.examples import (
    Contrast,
    Example,
    FeatureFirings,
    activation_histogram,
    by_feature,
    contrast,
    step_counts,
    step_rewards,
    step_rights,
    top_examples,
    top_texts,
)
from rewardscope.features.firing import DataSet, Firings, sum_firings

# Shape legend: F features, C token categories, D data sets.
BEFORE, AFTER = 24, 12  # tokens of context
N_TEXTS = 6


class Statistics(NamedTuple):
    """Sums over all data sets: what decides which features are shown."""

    count_DF: np.ndarray
    mass_CF: np.ndarray
    max_F: np.ndarray

    @property
    def mass_F(self) -> np.ndarray:
        return self.mass_CF.sum(axis=0)


def gather(firings: Sequence[Firings], data_sets: Sequence[DataSet]) -> Statistics:
    """Add up the firings of every data set."""
    sums = [
        sum_firings(fired, data.rows.problems, data.rows.problem_N, data.texts.category_N)
        for fired, data in zip(firings, data_sets, strict=True)
    ]
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


def layer_data(
    data_sets: list[DataSet],
    firings: list[Firings],
    diffs: Sequence[FeatureDiff],
    *,
    top: int,
    by_diff: bool,
    n_examples: int,
) -> dict[str, Any]:
    """Return the features of one layer with their statistics and contexts.

    `diffs` are the rows of this layer.
    """
    statistics = gather(firings, data_sets)
    features = choose_features(statistics, diffs, top=top, by_diff=by_diff)
    split = [by_feature(fired, features) for fired in firings]
    rewards, rights = step_rewards(data_sets), step_rights(data_sets)
    step_rows = np.sum([step_counts(data.rows.step_N) for data in data_sets], axis=0)
    pairs = list(dict.fromkeys((row.reasoning, row.instruct) for row in diffs))
    texts = TextStore(data_sets)
    examples = []
    shown = []
    for place, feature in enumerate(features.tolist()):
        parts = [of_data_set[place] for of_data_set in split]
        found = top_examples(parts, data_sets, n=n_examples, before=BEFORE, after=AFTER)
        texts.want(found)
        examples.append(found)
        shown.append(
            _numbers(feature, parts, data_sets, statistics, step_rows)
            | {
                "reward": _contrast(contrast(parts, rewards)),
                "right": _contrast(contrast(parts, rights)),
            }
            | {"diffs": [_diff(row, pairs) for row in diffs if row.feature == feature]}
        )
    texts.cut()
    for entry, found in zip(shown, examples, strict=True):
        entry["examples"] = [texts.place(example) for example in found]
    return {
        "categories": CATEGORIES,
        "pairs": pairs,
        "features": shown,
        "n_firing": int((statistics.mass_F > 0).sum()),
        "data_sets": [_data_set(data) for data in data_sets],
        "step_rows": step_rows.tolist(),
        **texts.tables(),
    }


def _numbers(
    feature: int,
    parts: list[FeatureFirings],
    data_sets: list[DataSet],
    statistics: Statistics,
    step_rows: np.ndarray,
) -> dict[str, Any]:
    count_D, mass_C = statistics.count_DF[:, feature], statistics.mass_CF[:, feature]
    steps = np.sum(
        [
            step_counts(data.rows.step_N[part.row_E])
            for part, data in zip(parts, data_sets, strict=True)
        ],
        axis=0,
    )
    rows_D = np.array([len(data.rows) for data in data_sets])
    return {
        "id": feature,
        "rate": _short(count_D.sum() / rows_D.sum()),
        "n": int(count_D.sum()),
        "mean": _short(mass_C.sum() / count_D.sum()),
        "max": _short(statistics.max_F[feature]),
        "mass": _short(mass_C.sum()),
        "rates": [_short(rate) for rate in count_D / rows_D],
        "kinds": [_short(share) for share in mass_C / mass_C.sum()],
        "hist": activation_histogram(np.concatenate([part.value_E for part in parts])).tolist(),
        "steps": [
            _short(n / rows) if rows else None
            for n, rows in zip(steps.tolist(), step_rows.tolist(), strict=True)
        ],
        "texts": [[text, _short(share)] for text, share in top_texts(parts, data_sets, n=N_TEXTS)],
    }


class TextStore:
    """The texts that contexts need: windows of the same trace are merged, and each distinct token
    text is kept once.
    """

    def __init__(self, data_sets: list[DataSet]) -> None:
        self._data_sets = data_sets
        self._wanted: dict[tuple[int, int], list[tuple[int, int]]] = {}
        # start, end, number
        self._segment_at: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        self._segments: list[list[Any]] = []
        self._traces: list[dict[str, Any]] = []
        self._tokens: dict[str, int] = {}

    def want(self, examples: Sequence[Example]) -> None:
        """Note the windows of examples."""
        for example in examples:
            self._wanted.setdefault((example.data_set, example.sequence), []).append(
                (example.start, example.end)
            )

    def cut(self) -> None:
        """Cut the texts of all windows that were noted."""
        for (number, line), windows in self._wanted.items():
            sequence = self._data_sets[number].sequences[line]
            trace = {
                "data_set": number,
                "problem": sequence["problem"],
                "trace": sequence["trace"],
                "correct": sequence["correct"],
            }
            self._traces.append(trace)
            for start, end in _merged(windows):
                self._segment_at.setdefault((number, line), []).append(
                    (start, end, len(self._segments))
                )
                codes = [
                    self._tokens.setdefault(text, len(self._tokens))
                    for text in sequence["tokens"][start:end]
                ]
                more = end < len(sequence["tokens"])
                self._segments.append(
                    [len(self._traces) - 1, start, codes, _marks(sequence, start, end), more]
                )

    def place(self, example: Example) -> list[Any]:
        """Return segment, position of the maximum, start, end, and [position, activation] pairs,
        all positions within the segment.
        """
        placed = self._segment_at[example.data_set, example.sequence]
        first, number = next(
            (start, number) for start, end, number in placed if start <= example.position < end
        )
        values = [
            [position - first, _short(value)] for position, value in example.activations.items()
        ]
        return [
            number,
            example.position - first,
            example.start - first,
            example.end - first,
            values,
        ]

    def tables(self) -> dict[str, Any]:
        return {"tokens": list(self._tokens), "traces": self._traces, "segments": self._segments}


def _merged(windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join windows that overlap or touch."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _marks(sequence: dict, start: int, end: int) -> list[list[Any]]:
    """Return [position, step number from 1, score or None] of the step ends in a window."""
    scores = sequence["scores"] or [None] * len(sequence["step_ends"])
    ends = enumerate(zip(sequence["step_ends"], scores, strict=True), start=1)
    return [
        [position - start, step, None if score is None else _short(score)]
        for step, (position, score) in ends
        if start <= position < end
    ]


def _contrast(found: Contrast) -> dict[str, Any]:
    d = found.difference
    interval = None if d is None else [_short(d.value), _short(d.low), _short(d.high), d.n]
    sides = [None if mean is None else _short(mean) for mean in (found.fires, found.elsewhere)]
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
        "rows": len(data.rows),
        "problems": len(data.rows.problems),
        "traces": len(data.sequences),
        "every_token": data.every_token,
    }


def _short(value: Any) -> float:
    return float(f"{float(value):.4g}")
