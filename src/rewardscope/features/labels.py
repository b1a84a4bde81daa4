"""What kind of text features fire on, by rules over the tokens and what stands round them.

    sums = sum_labels(data_sets, pieces, n_features=F)    # one pass over the firings
    assign(sums.mass_UCF, sums.rows_UC)                   # of each feature: which label, how purely

Purity is the share of a feature's activation on tokens of a label. It says little alone: where
65 % of the tokens are formatting, a feature that is blind to tokens has 65 %. So it stands beside
the base rate, the share of the label's tokens among all, and what counts is selectivity:
(purity - base) / (1 - base), 0 for a blind feature and 1 for one that fires nowhere else.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.features.firing import DataSet, FiredRows
from rewardscope.features.label_rules import LABELS
from rewardscope.features.token_labels import label_codes
from rewardscope.statistics.intervals import MIN_PROBLEMS
from rewardscope.statistics.shares import Shares, score_ends, shares_of_sums

# Shape legend: N rows, T tokens of a sequence, E firings, F features, U groups of problems, C
# labels (or categories).
MAX_GROUPS = 64  # of problems: bounds what is held, whatever the number of problems
MIN_FIRING = 5  # groups in which a feature fires, for an interval
LEAST_SELECTIVITY = 0.5
TOP_CONTEXTS = 20


class _LabelledRows:
    """Gives the labels of rows as they go by; the labels of a sequence are made once."""

    def __init__(self, data: DataSet) -> None:
        self._data, self._scores_steps = data, data.store.info.mode == "rm"
        self._known: dict[int, NDArray[np.uint8]] = {}

    def read(self, rows: "FiredRows") -> NDArray[np.uint8]:
        """Return the labels [N]. Where only step ends were captured, each stands for the token
        before its step tag.
        """
        table, store = rows.rows, self._data.store
        back_N = 0 if self._data.every_token else table.step_end_N.astype(np.int64)
        token_N = np.maximum(0, table.token_N - back_N)
        wanted = np.unique(table.sequence_N)
        known = {number: self._known[number] for number in wanted.tolist() if number in self._known}
        missing = [number for number in wanted.tolist() if number not in known]
        for number, sequence in store.sequences.chosen(missing):
            tags = sequence.step_ends if self._scores_steps and self._data.every_token else ()
            known[number] = label_codes(sequence.tokens, tags=tags)
        self._known = known
        code_N = np.zeros(len(table), dtype=np.uint8)
        for number in wanted.tolist():
            here_N = table.sequence_N == number
            code_N[here_N] = known[number][token_N[here_N]]
        return code_N


class LabelSums(NamedTuple):
    """Sums over rows by group of problems."""

    rows_UC: NDArray[np.float64]
    mass_UCF: NDArray[np.float32]
    """Activation summed over the rows of a label."""
    best_UF: NDArray[np.float32]
    """The strongest firing; 0 where there is none."""
    best_code_UF: NDArray[np.uint8]
    """And the label it has."""
    firings_F: NDArray[np.int64]
    n_problems: int


def sum_labels(
    data_sets: Sequence[tuple[DataSet, Iterable[FiredRows]]], *, n_features: int
) -> LabelSums:
    """Add the firings of one SAE on all data sets up by label. A problem is in one group, whichever
    data sets have it.
    """
    problems = dict.fromkeys(name for data, _ in data_sets for name in data.store.problems)
    n_groups = min(MAX_GROUPS, len(problems))
    group_of = {name: number % n_groups for number, name in enumerate(problems)}
    n_labels = len(LABELS)
    rows_UC = np.zeros(n_groups * n_labels)
    mass = np.zeros(n_groups * n_labels * n_features, dtype=np.float32)
    best, best_code = np.zeros(n_groups * n_features, "f4"), np.zeros(n_groups * n_features, "u1")
    firings_F = np.zeros(n_features, dtype=np.int64)
    for data, pieces in data_sets:
        labelled = _LabelledRows(data)
        group_P = np.array([group_of[name] for name in data.store.problems], dtype=np.int64)
        for piece in pieces:
            code_N, group_N = labelled.read(piece).astype(np.int64), group_P[piece.rows.problem_N]
            place_N = group_N * n_labels + code_N
            rows_UC += np.bincount(place_N, minlength=len(rows_UC))
            feature_E = piece.feature_E.astype(np.int64)
            np.add.at(mass, place_N[piece.row_E] * n_features + feature_E, piece.value_E)
            firings_F += np.bincount(feature_E, minlength=n_features)
            at_E = group_N[piece.row_E] * n_features + feature_E
            order = np.argsort(piece.value_E, kind="stable")  # of equal cells the last one is kept
            order = order[piece.value_E[order] > best[at_E[order]]]
            best[at_E[order]] = piece.value_E[order]
            best_code[at_E[order]] = code_N[piece.row_E[order]]
    shape = (n_groups, n_features)
    return LabelSums(
        rows_UC.reshape(n_groups, n_labels),
        mass.reshape(n_groups, n_labels, n_features),
        best.reshape(shape),
        best_code.reshape(shape),
        firings_F,
        len(problems),
    )


class Assignment(NamedTuple):
    """Of each feature the label that it is most selective of, a position among the labels.

    `low_F` and `high_F` bound the lift, 95 % over problems; NaN where too few say anything.
    """

    code_F: NDArray[np.int64]
    purity_F: NDArray[np.float64]
    base_F: NDArray[np.float64]
    lift_F: NDArray[np.float64]
    low_F: NDArray[np.float64]
    high_F: NDArray[np.float64]
    selectivity_F: NDArray[np.float64]
    assigned_F: NDArray[np.bool_]
    """Whether it counts as of that label: selectivity at least LEAST_SELECTIVITY, and a lift above
    1 beyond chance. The others are mixed.
    """
    n_F: NDArray[np.int64]
    """Groups of problems, or contexts, behind it."""


def assign(mass_UCF: NDArray, rows_UC: NDArray) -> Assignment:
    """Assign features by their activation on the rows of each label, from sums by problem or group
    of problems. Any set of categories will do in the place of labels.
    """
    mass_CF = mass_UCF.sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        purity_CF = np.nan_to_num(mass_CF / mass_CF.sum(axis=0))
    base_C, code_F = _most_selective(purity_CF, rows_UC)
    part_UF = np.take_along_axis(mass_UCF, code_F[None, None, :], axis=1)[:, 0]
    whole_UF = mass_UCF.sum(axis=1)
    found = shares_of_sums(part_UF, whole_UF, min_units=MIN_FIRING)
    enough = len(rows_UC) >= MIN_PROBLEMS
    return _assignment(code_F, found, base_C, (whole_UF > 0).sum(axis=0), bounds=enough)


def assign_top(sums: LabelSums) -> Assignment:
    """Assign features by their strongest contexts: the strongest firing in each group of problems,
    of these the TOP_CONTEXTS strongest, each counted once.
    """
    order_UF = np.argsort(-sums.best_UF, axis=0, kind="stable")[:TOP_CONTEXTS]
    fires_MF = np.take_along_axis(sums.best_UF, order_UF, axis=0) > 0
    code_MF = np.take_along_axis(sums.best_code_UF, order_UF, axis=0)
    n_F = fires_MF.sum(axis=0)
    count_CF = np.stack([((code_MF == c) & fires_MF).sum(axis=0) for c in range(len(LABELS))])
    purity_CF = count_CF / np.maximum(n_F, 1)
    base_C, code_F = _most_selective(purity_CF, sums.rows_UC)
    value_F = np.take_along_axis(purity_CF, code_F[None], axis=0)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        low_F, high_F = score_ends(value_F, n_F, np.full(len(n_F), 1.96))
    return _assignment(
        code_F,
        Shares(value_F, *(np.where(n_F >= MIN_FIRING, end, np.nan) for end in (low_F, high_F))),
        base_C,
        n_F,
        bounds=len(sums.rows_UC) >= MIN_PROBLEMS,
    )


def _most_selective(purity_CF: NDArray, rows_UC: NDArray) -> tuple[NDArray, NDArray]:
    """Return the base rates [C], and of each feature the label with the highest selectivity."""
    base_C = rows_UC.sum(axis=0) / rows_UC.sum()
    left_C1 = np.maximum(1 - base_C, 1e-12)[:, None]
    selectivity_CF = np.where(base_C[:, None] > 0, (purity_CF - base_C[:, None]) / left_C1, -np.inf)
    return base_C, selectivity_CF.argmax(axis=0)


def _assignment(
    code_F: NDArray, purity: Shares, base_C: NDArray, n_F: NDArray, *, bounds: bool
) -> Assignment:
    base_F = base_C[code_F]
    low_F, high_F = (
        ends / base_F if bounds else np.full(len(base_F), np.nan)
        for ends in (purity.low_K, purity.high_K)
    )
    purity_F = np.nan_to_num(purity.value_K)
    selectivity_F = (purity_F - base_F) / np.maximum(1 - base_F, 1e-12)
    return Assignment(
        code_F=code_F,
        purity_F=purity_F,
        base_F=base_F,
        lift_F=purity_F / base_F,
        low_F=low_F,
        high_F=high_F,
        selectivity_F=selectivity_F,
        assigned_F=(selectivity_F >= LEAST_SELECTIVITY) & (low_F > 1),
        n_F=n_F,
    )
