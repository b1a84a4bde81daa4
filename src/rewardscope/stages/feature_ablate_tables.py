"""What `feature-ablate` shows of its results."""

from collections.abc import Sequence

from rewardscope.features.ablation_table import AblationRow
from rewardscope.storage.tables import show_table, shown

_SHORT = {"error term and decoder bias alone": "error term and bias"}


def ablation_table(rows: Sequence[AblationRow]) -> str:
    """Lay out one line a set and measure, of single features the score alone; the file has more."""
    header = ("features", "n", "measure", "change", "95 % interval", "controls, 95 %", "p")
    cells = [
        (
            _SHORT.get(row.name, row.name),
            row.n_features,
            row.measure,
            f"{row.change:+.4f}",
            f"{shown(row.low, '+.4f')} {shown(row.high, '+.4f')}",
            f"{shown(row.control_low, '+.4f')} {shown(row.control_high, '+.4f')}",
            shown(row.of_many),
        )
        for row in rows
        if row.measure != "size" and (row.kind != "feature" or row.measure == "score")
    ]
    note = "p: share of controls that change as much, of the largest of as many sets of them"
    return f"{show_table(header, cells)}\n{note}"
