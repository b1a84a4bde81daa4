"""One SAE on two data sets: every feature compared under every control, a chunk of features at a
time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rewardscope.features.contrast_sums import (
    chunk_size,
    sum_categories,
    sum_matched,
    sum_traces,
    sum_words,
)
from rewardscope.features.controls import (
    NONE,
    Matching,
    all_controls,
    as_given,
    count_rows,
    match,
    rows_of,
)
from rewardscope.features.diff import Comparison, compare, favoured, join_chunks
from rewardscope.features.firing_buckets import FiringBuckets
from rewardscope.features.reason_score import reason_scores
from rewardscope.features.row_codes import PairRows
from rewardscope.features.trace_auroc import Aurocs, trace_aurocs

# Shape legend: F features, P problems, T traces, C categories.


class Sides:
    """Two data sets, with the rows that each control matches."""

    def __init__(self, pair: PairRows, *, n_words: int) -> None:
        self.pair, self.n_words = pair, n_words
        self._controls = all_controls(pair)
        self._counts, self._rows_2P = count_rows(pair, self._controls), rows_of(pair)
        self.side_2P = as_given(pair)
        self.matchings = self.matched(self.side_2P)

    def matched(self, side_2P: np.ndarray) -> list[Matching]:
        """Match the rows for given sides of the problems."""
        return [
            match(control, count_QR, self._rows_2P, side_2P)
            for control, count_QR in zip(self._controls, self._counts, strict=True)
        ]

    def flipped(self, rng: np.random.Generator) -> np.ndarray:
        """Return sides [2, P] drawn anew, problem by problem: both sides of a problem stay or are
        swapped.
        """
        swaps_P = rng.random(len(self.pair.problems)) < 0.5
        return np.where(swaps_P, 1 - self.side_2P, self.side_2P)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is known of each feature beside the comparisons.

    means_2F: activation over all rows of a side. mass_share_FC: share of a feature's activation,
    over both sides, on tokens of each category. auroc: over traces. reason_F: ReasonScore on the
    first side.
    """

    means_2F: np.ndarray
    mass_share_FC: np.ndarray
    auroc: Aurocs
    reason_F: np.ndarray


def compare_all(
    sides: Sides,
    files: Sequence[FiringBuckets],
    side_2P: np.ndarray,
    *,
    n_features: int,
    n_resamples: int = 0,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compare every feature under every control, by the control's name."""
    is_given = np.array_equal(side_2P, sides.side_2P)
    matchings = sides.matchings if is_given else sides.matched(side_2P)
    size = chunk_size(sides.pair, matchings, n_features=n_features)
    chunks: dict[str, list[Comparison]] = {m.control.name: [] for m in matchings}
    for start in range(0, n_features, size):
        stop = min(start + size, n_features)
        sums = sum_matched(sides.pair, files, matchings, side_2P, start=start, stop=stop)
        for m, of_control in zip(matchings, sums, strict=True):
            found = compare(m, of_control, n_resamples=n_resamples, seed=seed)
            chunks[m.control.name].append(found)
    return {name: join_chunks(parts) for name, parts in chunks.items()}


def mass_shares(sides: Sides, files: Sequence[FiringBuckets], *, n_features: int) -> np.ndarray:
    """Return the share [F, C] of each feature's activation, over both sides, by the category of the
    token.
    """
    size = chunk_size(sides.pair, sides.matchings, n_features=n_features)
    parts = []
    for start in range(0, n_features, size):
        stop = min(start + size, n_features)
        parts.append(sum_categories(sides.pair, files, start=start, stop=stop))
    mass_CF = np.concatenate(parts, axis=1)
    return (mass_CF / np.maximum(mass_CF.sum(axis=0), 1e-30)).T


def describe(sides: Sides, files: Sequence[FiringBuckets], *, n_features: int) -> Found:
    """Return what needs no control."""
    pair = sides.pair
    first_T, used_T = pair.side_T == 0, pair.rows_T > 0
    size = chunk_size(pair, sides.matchings, n_features=n_features)
    means, aurocs, words, word_rows_W = [], [], [], np.zeros(1)
    for start in range(0, n_features, size):
        stop = min(start + size, n_features)
        by_trace = sum_traces(pair, files, start=start, stop=stop)
        both = [by_trace[of_side].sum(axis=0) for of_side in (first_T, ~first_T)]
        means.append(np.stack(both) / np.array(pair.n_rows)[:, None])
        mean_TF = by_trace[used_T] / pair.rows_T[used_T, None]
        aurocs.append(trace_aurocs(mean_TF, first_T[used_T], pair.problem_T[used_T]))
        by_word, word_rows_W = sum_words(pair, files, n_words=sides.n_words, start=start, stop=stop)
        words.append(by_word)
    return Found(
        means_2F=np.concatenate(means, axis=1),
        mass_share_FC=mass_shares(sides, files, n_features=n_features),
        auroc=Aurocs(*map(np.concatenate, zip(*aurocs, strict=True))),
        reason_F=reason_scores(np.concatenate(words, axis=1), word_rows_W),
    )


def verdicts(
    found: Mapping[str, Comparison], *, fdr: float, min_log2_ratio: float
) -> dict[str, np.ndarray]:
    """Return for each control which side features favour: +1, -1, or 0 [F]. Under a control only
    what already favours the side on all rows counts.
    """
    own = {
        name: favoured(one, fdr=fdr, min_log2_ratio=min_log2_ratio) for name, one in found.items()
    }
    return {name: np.where(verdict_F == own[NONE], verdict_F, 0) for name, verdict_F in own.items()}
