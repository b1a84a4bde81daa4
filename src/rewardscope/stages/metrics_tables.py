"""What `metrics` shows people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardscope.records import Estimate
from rewardscope.stages import answer_sources
from rewardscope.stages.equal_compute import show_comparison
from rewardscope.stages.format_values import format_table
from rewardscope.storage.tables import read_json_as, show_table, shown

_MEANING = (
    "of a problem's traces, accuracy takes the chosen one, mean_accuracy all, a vote the answer of"
    " most"
)


def metrics_table(path: Path) -> str:
    """Lay out a metrics file."""
    report = read_json_as(path, dict[str, Any])
    low, high = report["traces_per_problem"]
    traces = str(low) if low == high else f"{low} to {high}"
    named = {None: "no PRM scores", "reward": "rewards that came with them"}
    scores = named.get(report["aggregation"], f"scores aggregated by {report['aggregation']}")
    others = report["gradings"]
    rows = []
    for name, e in report["metrics"].items():
        rest = [
            cell
            for metrics in others.values()
            for cell in (_bounds(name, metrics[name]) if name in metrics else ("", "", ""))
        ]
        rows.append((name, *_bounds(name, e), e["n"], *rest))
    verdicts = report["verdicts"]
    for name, count in verdicts["strict"].items():
        rows.append(
            (
                f"traces {name}",
                count,
                "",
                "",
                "",
                *(cell for other in others for cell in (verdicts[other][name], "", "")),
            )
        )
    header = (
        "metric",
        "strict",
        "95 % low",
        "high",
        "n",
        *(cell for other in others for cell in (other, "low", "high")),
    )
    heading = f"{path}: {report['problems']} problems, {traces} traces each, {scores}"
    lines = [
        heading,
        show_table(header, rows),
        _MEANING,
        *answer_sources.lines(report),
        _cost_table(report["cost"]),
        *([format_table(report["format"])] if "format" in report else []),
        *_window_lines(report["windows"]),
    ]
    if report["equal_compute"]:
        lines.append(show_comparison(report["equal_compute"]))
    return "\n".join([*lines, *_published_lines(report["published"])])


def _cost_table(costs: Mapping[str, Any]) -> str:
    rows = []
    for name, e in costs.items():
        scale, unit = 1e9 if name.endswith("_flops") else 1, name.replace("_flops", "_gflops")
        rows.append(
            (unit, *(_scaled(e[bound], scale) for bound in ("value", "low", "high")), e["n"])
        )
    return show_table(("cost of a problem", "mean", "95 % low", "high", "n"), rows)


def _scaled(value: float | None, scale: float) -> str:
    return "-" if value is None else f"{value / scale:.2f}"


def _window_lines(windows: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, found in windows.items():
        accuracy, score = (Estimate(**found[which]) for which in ("mean_accuracy", "mean_score"))
        lines.append(
            f"traces {name} the PRM's window: {found['traces']}, mean_accuracy {accuracy}, score"
            f" {score}"
        )
    return lines


def _bounds(name: str, estimate: Mapping[str, float]) -> tuple[str, ...]:
    digits = 1 if name in ("mean_tokens", "mean_steps") else 3
    return tuple(shown(estimate[bound], f".{digits}f") for bound in ("value", "low", "high"))


def _published_lines(published: Mapping[str, Any] | None) -> list[str]:
    if published is None:
        return []
    agreement, different = Estimate(**published["agreement"]), published["different"]
    verdicts = f"{published['traces'] - len(different)} of {published['traces']} traces"
    lines = [f"strict verdicts agree with the published ones on {verdicts}: {agreement}"]
    words = {True: "right", False: "wrong"}
    return lines + [
        f"  {d['problem']} trace {d['trace']}: gold {d['gold']}, answer {d['answer']}, published as"
        f" {words[d['published']]}"
        for d in different
    ]
