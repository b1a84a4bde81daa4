"""The tables of `feature-label`: a row a feature and scope, and the shares by category."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from rewardscope.features.label_rules import FORMATTING_LABELS, LABELS
from rewardscope.storage.tables import columns_of

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.features.labels import Assignment, LabelSums

Scope = Literal["all", "top"]
MIXED = "mixed"


class FeatureCategory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: the category that a feature is most selective of.

    scope: `all` its firings, weighted by activation, or its `top` contexts, the strongest of each
    group of problems, counted; assigned: whether it counts as of that category, else it is mixed;
    purity: share in the category; base_rate: share of the category's tokens among all; lift: purity
    / base_rate, with its 95 % interval over problems; selectivity: (purity - base_rate) /
    (1 - base_rate); n: groups of problems, or contexts, behind it; firings: rows where it fires.
    """

    layer: int
    feature: int
    scope: Scope
    category: str
    assigned: bool
    purity: float
    base_rate: float
    lift: float
    low: float | None
    high: float | None
    selectivity: float
    n: int
    firings: int


class CategoryShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: how many of the features are of a category.

    features: `all` that fire, or those that favour `reasoning` by feature-diff; category: also
    `mixed`, and `formatting` for whitespace, punctuation and Unicode together; low, high: Wilson's
    interval over the features; base_rate: share of its tokens, None for mixed.
    """

    layer: int
    scope: Scope
    features: str
    category: str
    count: int
    n: int
    share: float
    low: float | None
    high: float | None
    base_rate: float | None


CATEGORY_FIELDS, SHARE_FIELDS = columns_of(FeatureCategory), columns_of(CategoryShare)


def category_rows(
    assignment: "Assignment", sums: "LabelSums", *, layer: int, scope: Scope
) -> list[FeatureCategory]:
    """Return a row for every feature that fires."""
    a = assignment
    return [
        FeatureCategory(
            layer=layer,
            feature=feature,
            scope=scope,
            category=LABELS[a.code_F[feature]],
            assigned=bool(a.assigned_F[feature]),
            purity=_short(a.purity_F[feature]),
            base_rate=_short(a.base_F[feature]),
            lift=_short(a.lift_F[feature]),
            low=_short_or_none(a.low_F[feature]),
            high=_short_or_none(a.high_F[feature]),
            selectivity=_short(a.selectivity_F[feature]),
            n=int(a.n_F[feature]),
            firings=int(sums.firings_F[feature]),
        )
        for feature in sums.firings_F.nonzero()[0].tolist()
    ]


def share_rows(
    rows: Sequence[FeatureCategory], base_C: "np.ndarray", *, features: str
) -> list[CategoryShare]:
    """Return the shares of these features, all of one layer and scope, by category."""
    from rewardscope.statistics.intervals import wilson

    base_of = dict(zip(LABELS, base_C.tolist(), strict=True))
    found = [row.category if row.assigned else MIXED for row in rows]
    counts: dict[str, tuple[int, float | None]] = {
        label: (found.count(label), base_of[label]) for label in LABELS
    }
    counts["formatting"] = (
        sum(counts[label][0] for label in FORMATTING_LABELS),
        sum(base_of[label] for label in FORMATTING_LABELS),
    )
    counts[MIXED] = (found.count(MIXED), None)
    shares = []
    for category, (count, base) in counts.items():
        share = wilson(count, len(rows))
        shares.append(
            CategoryShare(
                layer=rows[0].layer,
                scope=rows[0].scope,
                features=features,
                category=category,
                count=count,
                n=len(rows),
                share=share.value,
                low=share.low,
                high=share.high,
                base_rate=None if base is None else _short(base),
            )
        )
    return shares


def _short(value: Any) -> float:
    return float(f"{value:.6g}")


def _short_or_none(value: Any) -> float | None:
    return None if value != value else _short(value)  # NaN
