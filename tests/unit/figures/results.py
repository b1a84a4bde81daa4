"""Result files made by hand, as the tasks leave them, with values for what the figures need."""

from pathlib import Path
from typing import Any

import msgspec

from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import write_rows
from rewardscope.storage.tables import columns_of, write_csv


def estimate(value: float, low: float | None, high: float | None, n: int = 9) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n}


def write_table(path: Path, kind: type[msgspec.Struct], rows: list[dict[str, Any]]) -> Path:
    """Write a table whose other columns hold a number, and a manifest in its folder."""
    columns = columns_of(kind)
    assert all(name in columns for row in rows for name in row)
    write_csv(path, [dict.fromkeys(columns, 1) | row for row in rows], fields=columns)
    write_json(path.parent / "manifest.json", {"stage": "x", "outputs": {}})
    return path


def write_generations(
    data: Path,
    name: str,
    *,
    policy: str,
    dataset: str = "toy",
    search: str | None = None,
    temperature: float = 0.8,
) -> None:
    """Write one problem and the manifest that says what made it."""
    problem = {"id": "toy/0", "dataset": dataset, "question": "?", "answer": "1"}
    write_rows(data / f"{name}.jsonl", [{"problem": problem}])
    manifest = {
        "stage": "infer-with-prm" if search else "infer",
        "settings": {"search": search} if search else {},
        "inputs": {"policy": {"source": f"org/{policy}"}, "dataset": {"source": dataset}},
        "extra": {} if search else {"temperature": temperature},
        "outputs": {},
    }
    write_json(data / f"{name}.jsonl.manifest.json", manifest)


def write_metrics(
    data: Path, name: str, metrics: dict[str, Any], *, traces: int = 1, **more: Any
) -> Path:
    report = {"metrics": metrics, "traces_per_problem": [traces, traces], "equal_compute": None}
    write_json(data / f"{name}.metrics.json", report | more)
    return data / f"{name}.metrics.json"
