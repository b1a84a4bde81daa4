"""What `feature-diff` prints: the features with the largest difference, and how many survive each
control.
"""

from collections.abc import Sequence
from pathlib import Path

from rewardscope.features.diff_table import CONTROLS, FeatureDiff, read_parts
from rewardscope.features.shares import ALL, FORMATTING_SHARE, DiffShare
from rewardscope.storage.tables import show_table, shown

_SHOWN = 10
_LITTLE = 0.1  # of a side's rows: a control that keeps less says little


def show_result(table: Path, shares: Sequence[DiffShare]) -> str:
    """Lay out the rows with the largest difference, and what the reasoning features fire on."""
    rows = read_parts([table])
    header = (
        "layer",
        "feature",
        "reasoning",
        "instruct",
        "difference",
        "95 % interval",
        "q",
        "favours",
        "fires most on",
        "survives",
    )
    cells = [
        (
            r.layer,
            r.feature,
            f"{r.rate_reasoning:.4f}",
            f"{r.rate_instruct:.4f}",
            f"{r.difference:+.4f}",
            f"{shown(r.low, '+.4f')} {shown(r.high, '+.4f')}",
            f"{r.q_value:.2g}",
            r.favours,
            r.top_category,
            _survives(r),
        )
        for r in sorted(rows, key=lambda r: -abs(r.difference))[:_SHOWN]
    ]
    return "\n".join([show_table(header, cells, keys=2), summary(rows), "", show_shares(shares)])


def _survives(row: FeatureDiff) -> str:
    if row.favours == "neither":
        return "-"
    names = row.survives.split(",") if row.survives else []
    return "every control" if len(names) == len(CONTROLS) else ", ".join(names) or "none"


def summary(rows: Sequence[FeatureDiff]) -> str:
    """Say how many features favour reasoning, and how many of these put most of their activation on
    formatting tokens.
    """
    from rewardscope.statistics.intervals import wilson

    favouring = [row for row in rows if row.favours == "reasoning"]
    if not favouring:
        return f"no feature of {len(rows)} favours reasoning"
    formatting = sum(row.share_formatting > 0.5 for row in favouring)
    return (
        f"{len(favouring)} of {len(rows)} features favour reasoning; share of these with most"
        " activation on whitespace, punctuation and Unicode symbols:"
        f" {wilson(formatting, len(favouring))}"
    )


def show_shares(shares: Sequence[DiffShare]) -> str:
    """Lay out, over all layers and pairs, the share of features that favour reasoning under each
    control, the formatting ones among them, and the same in the baselines.
    """
    header = (
        "source",
        "features",
        "control",
        "rows kept",
        "of",
        "reasoning",
        "share",
        "formatting",
    )
    cells = []
    for (source, group, control), of_one in _grouped(shares).items():
        all_rows = [row for row in of_one if row.category == ALL]
        formatting = [row for row in of_one if row.category == FORMATTING_SHARE]
        n, count = sum(row.n for row in all_rows), sum(row.count for row in all_rows)
        kept = min(min(row.kept_reasoning, row.kept_instruct) for row in all_rows)
        cells.append(
            (
                source,
                group,
                control,
                f"{kept:.2f}{' (little)' if kept < _LITTLE else ''}",
                n,
                count,
                _share(count, n),
                _share(sum(row.count for row in formatting), sum(row.n for row in formatting)),
            )
        )
    notes = ["rows kept: the least of both sides; intervals as if features were independent"]
    chance = [row.by_chance for row in shares if row.by_chance is not None]
    if chance:
        notes.append(f"shuffled twins would call {max(chance):.3f} of the features stable at most")
    return "\n".join([show_table(header, cells), *notes])


def _grouped(shares: Sequence[DiffShare]) -> dict[tuple[str, str, str], list[DiffShare]]:
    found: dict[tuple[str, str, str], list[DiffShare]] = {}
    for row in shares:
        source = row.source.partition("-")[0]  # permuted-1 and so on are one
        found.setdefault((source, row.group, row.control), []).append(row)
    return found


def _share(count: int, n: int) -> str:
    from rewardscope.statistics.intervals import wilson

    if not n:
        return "-"
    found = wilson(count, n)
    return f"{found.value:.3f} {found.bounds()}"
