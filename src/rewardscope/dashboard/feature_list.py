"""The list of every feature that fires, as columns: small enough that a page holds all of them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rewardscope.dashboard.details import Details, Statistics
from rewardscope.dashboard.text_store import short
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.features.examples import top_texts
from rewardscope.statistics.intervals import MIN_PROBLEMS

# Shape legend: F features, L features that are listed, D data sets, C token categories.
SIDES = ("neither", "reasoning", "instruct")


def feature_list(
    details: Details,
    statistics: Statistics,
    pairs: Sequence[tuple[str, str]],
    diffs: Sequence[FeatureDiff],
    cosine_F: np.ndarray | None,
    *,
    n_texts: int,
) -> dict[str, Any]:
    """Return the columns, an entry a feature, in the order of activation in all.

    `place` is the feature's number among those with a card, or -1; `texts` are positions in
    `tokens`, -1 for step ends, and `shares` what they carry of its activation; `kind` the category
    that carries most of it; `reward` and `right` are differences between step ends where it fires
    and the rest, without an interval: that is in the card; `diff` is the mean difference of firing
    rates over the pairs, `side` whom a pair favours: a position in `sides`.
    """
    mass_F = statistics.mass_F
    order_L = np.argsort(-mass_F, kind="stable")[: int((mass_F > 0).sum())]
    n_L = statistics.count_DF[:, order_L].sum(axis=0)
    kind_L = statistics.mass_CF[:, order_L].argmax(axis=0)
    tokens: dict[str, int] = {}
    texts, shares = [], []
    for feature in order_L.tolist():
        total = float(mass_F[feature])
        found = top_texts(feature, details.masses, details.texts, total=total, n=n_texts)
        texts.append([-1 if t is None else tokens.setdefault(t, len(tokens)) for t, _ in found])
        shares.append([round(share, 2) for _, share in found])
    columns: dict[str, Any] = {
        "id": order_L.tolist(),
        "place": details.place_F[order_L].tolist(),
        "n": n_L.astype(int).tolist(),
        "counts": statistics.count_DF[:, order_L].T.astype(int).tolist(),
        "mean": [short(v) for v in mass_F[order_L] / n_L],
        "max": [short(v) for v in statistics.max_F[order_L]],
        "kind": kind_L.tolist(),
        "share": [
            round(float(v), 2) for v in statistics.mass_CF[kind_L, order_L] / mass_F[order_L]
        ],
        "texts": texts,
        "shares": shares,
        "reward": _known(details.reward_totals.differences(MIN_PROBLEMS)[order_L]),
        "right": _known(details.right_totals.differences(MIN_PROBLEMS)[order_L]),
    }
    if pairs:
        columns |= _compared(order_L, diffs)
    if cosine_F is not None:
        columns["cosine"] = [round(float(v), 3) for v in cosine_F[order_L]]
    return {"n": len(order_L), "columns": columns, "tokens": list(tokens), "sides": SIDES}


def _compared(order_L: np.ndarray, diffs: Sequence[FeatureDiff]) -> dict[str, Any]:
    found: dict[int, list[float]] = {}
    side: dict[int, str] = {}
    for row in diffs:
        found.setdefault(row.feature, []).append(row.difference)
        if row.favours != SIDES[0]:
            side.setdefault(row.feature, row.favours)
    means = [found.get(feature) for feature in order_L.tolist()]
    return {
        "diff": [None if m is None else short(sum(m) / len(m)) for m in means],
        "side": [SIDES.index(side.get(feature, SIDES[0])) for feature in order_L.tolist()],
    }


def _known(value_L: np.ndarray) -> list[float | None]:
    return [None if math.isnan(v) else round(v, 4) for v in value_L.tolist()]
