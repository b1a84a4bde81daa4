"""How features fire: how strongly, in which steps, on which texts, and what reward goes with it."""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from rewardscope.features.contexts import ShownFirings
from rewardscope.records import Estimate
from rewardscope.statistics.draws import draw
from rewardscope.statistics.intervals import MIN_PROBLEMS, interval
from rewardscope.statistics.measures import of_sums

# Shape legend: N rows, E firings, T features that are shown, P problems, S step bins, H histogram
# bins.
HISTOGRAM_BINS = 24
STEP_BINS = 16  # steps 1 to 15, then all later ones


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


@final
class Histograms:
    """Counts [T, H] of activations in equal bins from 0 to the largest of each feature."""

    def __init__(self, max_T: np.ndarray) -> None:
        self._edges_TH = np.stack(
            [np.linspace(0.0, float(top), HISTOGRAM_BINS + 1, dtype=np.float32) for top in max_T]
        )
        self.count_TH = np.zeros((len(max_T), HISTOGRAM_BINS), dtype=np.int64)

    def add(self, firings: ShownFirings) -> None:
        inner_EH = self._edges_TH[firings.place_E, 1:-1]
        bin_E = (firings.value_E[:, None] >= inner_EH).sum(axis=1)
        np.add.at(self.count_TH, (firings.place_E, bin_E), 1)


def step_counts(step_N: np.ndarray) -> np.ndarray:
    """Return counts [S] by step, the last bin holding every later one; rows before the first step
    are left out.
    """
    return np.bincount(np.minimum(step_N[step_N >= 0], STEP_BINS - 1), minlength=STEP_BINS)


def add_steps(count_TS: np.ndarray, firings: ShownFirings, step_N: np.ndarray) -> None:
    """Add the firings of each feature to its counts by step, as in `step_counts`."""
    step_E = np.minimum(step_N[firings.row_E], STEP_BINS - 1)
    known = step_E >= 0
    np.add.at(count_TS, (firings.place_E[known], step_E[known]), 1)


@final
class TextMass:
    """Activation of each feature on each token text of one data set, where there is any.

    Of a feature with more than `most` texts only the strongest are kept from then on, so that it
    grows with the features alone.
    """

    def __init__(self, *, most: int = 512) -> None:
        self._keys = np.zeros(0, dtype=np.int64)  # place and text code, ascending
        self._mass = np.zeros(0)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []
        self._n_new, self._most = 0, most

    def add(self, firings: ShownFirings, text_N: np.ndarray) -> None:
        key_E = firings.place_E << 32 | text_N[firings.row_E]
        keys, back_E = np.unique(key_E, return_inverse=True)
        mass = np.bincount(back_E, weights=firings.value_E, minlength=len(keys))
        self._new.append((keys, mass))
        self._n_new += len(keys)
        if self._n_new > max(1 << 18, len(self._keys)):  # so that each is sorted few times
            self._merge()

    def _merge(self) -> None:
        if not self._new:
            return
        parts = [(self._keys, self._mass), *self._new]
        all_keys, all_mass = (np.concatenate(column) for column in zip(*parts, strict=True))
        keys, back = np.unique(all_keys, return_inverse=True)
        mass = np.bincount(back, weights=all_mass, minlength=len(keys))
        place = keys >> 32
        order = np.lexsort((-mass, place))
        rank = np.arange(len(order)) - np.searchsorted(place, place)  # places are ascending
        kept = np.sort(order[rank < self._most])
        self._keys, self._mass = keys[kept], mass[kept]
        self._new, self._n_new = [], 0

    def strongest(self, place: int, n: int) -> list[tuple[int, float]]:
        """Return the `n` text codes with the most activation of a feature, and how much."""
        self._merge()
        mine = slice(*np.searchsorted(self._keys, [place << 32, (place + 1) << 32]))
        order = np.argsort(-self._mass[mine], kind="stable")[:n]
        codes = self._keys[mine][order] - (place << 32)
        return list(zip(codes.tolist(), self._mass[mine][order].tolist(), strict=True))


def top_texts(
    place: int,
    masses: Sequence[TextMass],
    texts: Sequence[Sequence[str | None]],
    *,
    total: float,
    n: int,
) -> list[tuple[str | None, float]]:
    """Return the `n` token texts that carry most of a feature's activation, each with its share of
    the `total`. There is an entry of `masses` and `texts` for each data set; None stands for what
    is no text, as a step end.
    """
    mass: dict[str | None, float] = {}
    for of_data_set, known in zip(masses, texts, strict=True):
        for code, value in of_data_set.strongest(place, 4 * n):
            mass[known[code]] = mass.get(known[code], 0.0) + value
    best = sorted(mass.items(), key=lambda entry: -entry[1])[:n]
    return [(text, share / total) for text, share in best if share > 0]


class StepEnds(NamedTuple):
    """Sums by problem of a quantity at step ends where a feature fires and where it does not, and
    how many step ends these are.
    """

    fires_P: np.ndarray
    n_fires_P: np.ndarray
    elsewhere_P: np.ndarray
    n_elsewhere_P: np.ndarray


@final
class StepEndSums:
    """A quantity at the step ends of all data sets, added up by problem and by feature."""

    def __init__(self, n_shown: int, n_problems: int) -> None:
        self._sum_P, self._n_P = np.zeros((2, n_problems))
        self._fires_TP, self._n_fires_TP = np.zeros((2, n_shown, n_problems))

    def add(
        self, firings: ShownFirings, value_N: np.ndarray, known_N: np.ndarray, problem_N: np.ndarray
    ) -> None:
        """Add rows; those of `known_N` are step ends whose value is known."""
        n_problems = len(self._n_P)
        known = problem_N[known_N]
        self._sum_P += np.bincount(known, weights=value_N[known_N], minlength=n_problems)
        self._n_P += np.bincount(known, minlength=n_problems)
        at = np.flatnonzero(known_N[firings.row_E])
        row_E = firings.row_E[at]
        where = (firings.place_E[at], problem_N[row_E])
        np.add.at(self._fires_TP, where, value_N[row_E])
        np.add.at(self._n_fires_TP, where, 1)

    def of(self, place: int) -> StepEnds:
        """Return the sums of one feature."""
        fires_P, n_fires_P = self._fires_TP[place], self._n_fires_TP[place]
        return StepEnds(fires_P, n_fires_P, self._sum_P - fires_P, self._n_P - n_fires_P)


def contrast(ends: StepEnds) -> Contrast:
    """Compare the quantity where a feature fires with the rest, with an interval over problems."""
    n_fires, n_elsewhere = int(ends.n_fires_P.sum()), int(ends.n_elsewhere_P.sum())
    fires = float(ends.fires_P.sum()) / n_fires if n_fires else None
    elsewhere = float(ends.elsewhere_P.sum()) / n_elsewhere if n_elsewhere else None
    problems = [int((n_P > 0).sum()) for n_P in (ends.n_fires_P, ends.n_elsewhere_P)]
    if fires is None or elsewhere is None or min(problems) < MIN_PROBLEMS:
        return Contrast(fires, elsewhere, None, n_fires, n_elsewhere, problems[0])
    seen = np.flatnonzero(ends.n_fires_P + ends.n_elsewhere_P)
    columns = (ends.fires_P, ends.n_fires_P, ends.elsewhere_P, ends.n_elsewhere_P)
    draws = draw(seen, seed=0)
    measured = of_sums(
        lambda sums: sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3],
        draws.sums(*(column[seen] for column in columns)),
        draws,
    )
    estimate = interval(measured, draws)
    return Contrast(fires, elsewhere, estimate, n_fires, n_elsewhere, problems[0])
