"""What `reward-patterns` shows people."""

from typing import Any

from rewardscope.records import Estimate
from rewardscope.storage.tables import show_table, shown


def patterns_tables(report: dict[str, Any]) -> str:
    """Lay out calibration and bias as two tables."""

    def text(e: dict[str, Any] | None) -> str:
        return "" if e is None else f"{e['value']:.3f} {Estimate(**e).bounds()}"

    forecasts = [
        [
            row["policy"],
            row["window"],
            row["forecast"],
            row["rows"],
            f"{row['share_right']:.3f}",
            text(row["ece"]),
            shown(row["ece_calibrated"]),
            *map(text, (row["brier"], row["auroc"])),
        ]
        for row in report["calibration"]
    ]
    biases = [
        [
            row["policy"],
            row["window"],
            row["answer"],
            row["against"],
            row["steps"],
            text(row["spearman"]),
        ]
        for row in report["bias"]
    ]
    counts = [list(row.values()) for row in report["counts"]]
    return "\n\n".join(
        [
            show_table(list(report["counts"][0]), counts, keys=2),
            show_table(
                [
                    "policy",
                    "window",
                    "forecast",
                    "rows",
                    "right",
                    "calibration error",
                    "if calibrated",
                    "Brier",
                    "AUROC",
                ],
                forecasts,
                keys=3,
            ),
            show_table(
                ["policy", "window", "answer", "score against", "steps", "Spearman"], biases, keys=4
            ),
        ]
    )
