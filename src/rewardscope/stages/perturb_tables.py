"""The tables of `perturb`."""

from collections.abc import Sequence

import msgspec

from rewardscope.storage.tables import show_table, shown


class RuleChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: what a rule does to one reading of the scores (at the edited step, min, final).

    change: mean of edited less right; size: of its absolute value; above: share of pairs whose
    right solution scores above the edited one, ties half. low and high: 95 % over problems.
    """

    dataset: str
    rule: str
    kind: str
    reading: str
    n_pairs: int
    n_problems: int
    unfit: int
    original: float
    change: float
    low: float | None
    high: float | None
    size: float
    size_low: float | None
    size_high: float | None
    above: float
    above_low: float | None
    above_high: float | None
    seed: int


class RuleSeparation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: how much further scores move by a changing rule (or all) than by all preserving
    ones; auroc of the size of change, difference in standard deviations.
    """

    dataset: str
    changing: str
    reading: str
    n_changing: int
    n_preserving: int
    auroc: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    n_problems: int
    seed: int


def perturb_tables(changes: Sequence[RuleChange], apart: Sequence[RuleSeparation]) -> str:
    """Lay out what every rule does, and how far the two kinds are apart."""

    def bounds(low: float | None, high: float | None) -> str:
        return f"{shown(low, '+.3f')} {shown(high, '+.3f')}"

    rows = [
        (
            row.dataset,
            row.kind,
            row.rule,
            row.reading,
            f"{row.change:+.3f}",
            bounds(row.low, row.high),
            f"{row.size:.3f}",
            f"{row.above:.3f}",
            row.n_pairs,
            row.n_problems,
            row.unfit,
        )
        for row in changes
    ]
    header = ("data set", "kind", "rule", "read", "change", "95 % interval", "size", "right above")
    table = show_table((*header, "pairs", "problems", "unfit"), rows)
    parts = [
        (
            row.dataset,
            row.changing,
            row.reading,
            shown(row.auroc),
            bounds(row.low, row.high),
            shown(row.difference, "+.2f"),
            bounds(row.difference_low, row.difference_high),
        )
        for row in apart
    ]
    header = ("data set", "changing rule", "read", "AUROC of size", "95 % interval", "d")
    return f"{table}\n\n{show_table((*header, '95 % interval'), parts)}"
