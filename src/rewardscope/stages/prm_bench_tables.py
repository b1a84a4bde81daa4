"""What `prm-bench` shows people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardscope.storage.tables import show_table, shown


def benchmark_table(found: Mapping[str, Any], path: Path) -> str:
    """Lay out the metrics of a report, all solutions first and then those within the window."""
    left_out = sum(len(refused) for refused in found["left_out"].values())
    counts = (
        f"{found['solutions']} solutions scored, {found['beyond_window']} of them beyond the PRM's"
        f" window, {left_out} left out"
    )
    tables = [f"{path}: {found['prm']}, {counts}, threshold {found['threshold']:g}", _rows(found)]
    if within := found.get("within_window"):
        tables += ["within the window alone", _rows(within)]
    return "\n".join(tables)


def _rows(found: Mapping[str, Any]) -> str:
    rows = []
    if processbench := found.get("processbench"):
        for subset, metrics in processbench["subsets"].items():
            rows += [
                (f"ProcessBench {subset}", name, *_cells(estimate))
                for name, estimate in metrics.items()
            ]
        rows.append(("ProcessBench", "average_f1", *_cells(processbench["average_f1"])))
    if prmbench := found.get("prmbench"):
        for part in ("categories", "dimensions"):
            rows += [
                (f"PRMBench {name}", "prm_score", *_cells(estimate))
                for name, estimate in prmbench[part].items()
            ]
        rows.append(("PRMBench", "prm_score", *_cells(prmbench["prm_score"])))
    return show_table(("benchmark", "metric", "value", "95 % low", "high", "n"), rows, keys=2)


def _cells(estimate: Mapping[str, float] | None) -> tuple[str, ...]:
    if estimate is None:
        return ("-", "-", "-", "-")
    return (*(shown(estimate[bound]) for bound in ("value", "low", "high")), f"{estimate['n']}")
