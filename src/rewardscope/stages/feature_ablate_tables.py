"""What `feature-ablate` shows of its results."""

from collections.abc import Sequence

from rewardscope.features.ablation_table import AblationRow
from rewardscope.storage.tables import show_table, shown


def ablation_table(rows: Sequence[AblationRow]) -> str:
    """Lay out one line a set and measure; all measures of sets, of single features the score."""
    header = (
        "kind",
        "name",
        "n",
        "measure",
        "original",
        "change",
        "95 % interval",
        "controls",
        "2.5 to 97.5 %",
        "margin",
        "95 % interval",
        "chance",
        "of many",
        "draws",
    )
    cells = [
        (
            row.kind,
            row.name,
            row.n_features,
            row.measure,
            f"{row.original:.3f}",
            f"{row.change:+.2g}" if abs(row.change) < 1e-3 else f"{row.change:+.4f}",
            f"{shown(row.low, '+.4f')} {shown(row.high, '+.4f')}",
            shown(row.control, "+.4f"),
            f"{shown(row.control_low, '+.4f')} {shown(row.control_high, '+.4f')}",
            shown(row.margin, "+.4f"),
            f"{shown(row.margin_low, '+.4f')} {shown(row.margin_high, '+.4f')}",
            shown(row.chance),
            shown(row.of_many),
            row.n_controls,
        )
        for row in rows
        if row.kind != "feature" or row.measure in ("score", "size")
    ]
    return show_table(header, cells)
