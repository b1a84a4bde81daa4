"""What the rows show of features, added up as they go by; it does not grow with the rows."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import numpy as np

from rewardscope.dashboard.co_firing import CoFiring
from rewardscope.dashboard.intervals import Peaks
from rewardscope.features.contexts import ShownFirings, of_shown
from rewardscope.features.examples import (
    STEP_BINS,
    Histograms,
    StepEndSums,
    TextMass,
    add_steps,
    step_counts,
)
from rewardscope.features.firing import DataSet, FiredRows, FiringFile, FiringSums, RowTexts
from rewardscope.storage.rows import RIGHT, UNKNOWN, RowTable

# Shape legend: N rows, F features, T features that are shown, C token categories, D data sets, S
# step bins, E firings.


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


@final
class StepEndTotals:
    """A quantity at step ends where each feature fires, over all problems."""

    def __init__(self, n_features: int) -> None:
        self.sum_F, self.n_F = np.zeros((2, n_features))
        self.sum, self.n = 0.0, 0

    def add(self, piece: FiredRows, value_N: np.ndarray, known_N: np.ndarray) -> None:
        """Add rows; those of `known_N` are step ends whose value is known."""
        self.sum += float(value_N[known_N].sum())
        self.n += int(known_N.sum())
        at = np.flatnonzero(known_N[piece.row_E])
        feature_E, value_E = piece.feature_E[at], value_N[piece.row_E[at]]
        self.sum_F += np.bincount(feature_E, weights=value_E, minlength=len(self.n_F))
        self.n_F += np.bincount(feature_E, minlength=len(self.n_F))

    def differences(self, least: int) -> np.ndarray:
        """Return the mean where each feature fires less the mean elsewhere; NaN where either has
        fewer than `least` step ends.
        """
        elsewhere_F = self.n - self.n_F
        with np.errstate(divide="ignore", invalid="ignore"):
            found_F = self.sum_F / self.n_F - (self.sum - self.sum_F) / elsewhere_F
        return np.where(np.minimum(self.n_F, elsewhere_F) >= least, found_F, np.nan)


@final
class Details:
    """Sums over all features (texts, step ends), and more of the chosen ones."""

    def __init__(
        self, encoded: Sequence[LayerFirings], features: np.ndarray, max_F: np.ndarray, *, n: int
    ) -> None:
        self._codes = {
            name: code
            for code, name in enumerate(dict.fromkeys(p for e in encoded for p in e.sums.problems))
        }
        self.place_F = np.full(len(max_F), -1, dtype=np.int64)
        self.place_F[features] = np.arange(len(features))
        self._every_F = np.arange(len(max_F))
        self.histograms = Histograms(max_F[features])
        self.steps_TS = np.zeros((len(features), STEP_BINS), dtype=np.int64)
        self.steps_S = np.zeros(STEP_BINS, dtype=np.int64)
        self.rewards, self.rights = (StepEndSums(len(features), len(self._codes)) for _ in range(2))
        self.reward_totals, self.right_totals = (StepEndTotals(len(max_F)) for _ in range(2))
        self.rows_D = np.array([one.sums.n_rows for one in encoded])
        self.co_firing = CoFiring(len(features), n_rows=int(self.rows_D.sum()))
        self.n_chance = -(-n // 3)
        self.peaks = [
            Peaks(max_F[features], n=n, n_chance=self.n_chance, seed=number)
            for number in range(len(encoded))
        ]
        self.masses = [TextMass() for _ in encoded]
        self.texts: list[Sequence[str | None]] = []
        """What the codes of `masses` stand for; None is a step end."""
        self.step_tags: set[str] = set()
        """The texts of the tokens at step ends."""

    def add(self, number: int, one: LayerFirings) -> Iterator[FiredRows]:
        """Add a data set; yield its pieces once they were added."""
        texts = RowTexts(one.data)
        codes = np.array([self._codes[name] for name in one.sums.problems], dtype=np.int64)
        tags = set[int]()
        for piece in one.file.read():
            rows, firings = piece.rows, of_shown(piece, self.place_F)
            self.steps_S += step_counts(rows.step_N)
            self.histograms.add(firings)
            add_steps(self.steps_TS, firings, rows.step_N)
            text_N = 2 * texts.read(rows)[0].astype(np.int64)
            if one.data.every_token:
                text_N += rows.step_end_N  # odd: the same text, at a step end
                tags.update(np.unique(text_N[rows.step_end_N] // 2).tolist())
            self.masses[number].add(of_shown(piece, self._every_F), text_N)
            self.peaks[number].add(rows, firings)
            self.co_firing.add(firings, len(rows))
            self._add_step_ends(piece, firings, rows, codes[rows.problem_N])
            yield piece
        self.texts.append([each for text in texts.texts for each in (text, None)])
        self.step_tags.update(texts.texts[tag] for tag in tags)

    def _add_step_ends(
        self, piece: FiredRows, firings: ShownFirings, rows: RowTable, problem_N: np.ndarray
    ) -> None:
        scored_N = rows.step_end_N & rows.has_reward_N
        self.rewards.add(firings, rows.reward_N, scored_N, problem_N)
        self.reward_totals.add(piece, rows.reward_N, scored_N)
        graded_N = rows.step_end_N & (rows.correct_N != UNKNOWN)
        right_N = (rows.correct_N == RIGHT).astype(float)
        self.rights.add(firings, right_N, graded_N, problem_N)
        self.right_totals.add(piece, right_N, graded_N)
