"""Distinct reward patterns: step scores against position, step length and step count by policy, and
scores as forecasts.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import GREY, colour_of, note_n, whole_results
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_csv, read_json

BY = ("position", "step length", "step count")
LINES = {"right": "-", "wrong": "--"}
FORECAST = "last"
_WIDE = 20


def find(settings: Settings) -> list[Path]:
    """Return the tables of reward-patterns. Raises: MissingInput."""
    return whole_results(
        settings.data_dir,
        "reward-patterns/*/patterns.csv",
        missing="no reward patterns; run invoke reward-patterns",
    )


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each result: three panels of mean scores, right answers solid and wrong ones
    dashed, and the reliability.
    """
    figure = Figure(figsize=(11.5, 2.9 * len(paths)))
    for axes, path in zip(figure.subplots(len(paths), 4, squeeze=False), paths, strict=True):
        rows, report = read_csv(path), read_json(path.with_name("report.json"))
        names = [_name(row) for row in rows]
        for panel, by in zip(axes, BY, strict=False):
            _draw_means(panel, [row for row in rows if row["by"] == by], names)
            unit = f" ({report['step_length_unit']})" if by == "step length" else ""
            panel.set(xlabel=f"{by}{unit}", ylim=(0, 1.02) if report["calibration"] else None)
            if by != "position" and _span(rows, by) > _WIDE:
                panel.set_xscale("log")
        axes[0].set_ylabel("mean step score")
        axes[2].legend(fontsize=6, loc="best")
        note_n(
            axes[0],
            "\n".join(
                f"{_name(c)}: {c['right']} traces right, {c['wrong']} wrong"
                for c in report["counts"]
            ),
        )
        note_n(axes[1], "95 % over problems")
        _draw_reliability(axes[3], report["calibration"], names)
    return figure


def _span(rows: list[dict[str, str]], by: str) -> float:
    """Return how many times the smallest bin's start the largest bin's end is."""
    bounds = [(float(row["start"]), float(row["end"])) for row in rows if row["by"] == by] or [
        (1.0, 1.0)
    ]
    return max(end for _, end in bounds) / max(1.0, min(start for start, _ in bounds))


def _name(row: dict[str, str]) -> str:
    return row["policy"] if row["window"] == "inside" else f"{row['policy']} (beyond the window)"


def _draw_means(panel: Axes, rows: list[dict[str, str]], names: list[str]) -> None:
    for name in dict.fromkeys(_name(row) for row in rows):
        for answer, line in LINES.items():
            here = [row for row in rows if _name(row) == name and row["answer"] == answer]
            x = [(float(row["start"]) + float(row["end"])) / 2 for row in here]
            colour = colour_of(name, names)
            panel.plot(
                x,
                [float(row["mean"]) for row in here],
                line,
                color=colour,
                marker="o",
                markersize=2.5,
                label=f"{name}, {answer}",
            )
            bounded = [(place, row) for place, row in zip(x, here, strict=True) if row["low"]]
            low, high = ([float(row[bound]) for _, row in bounded] for bound in ("low", "high"))
            panel.fill_between(
                [place for place, _ in bounded], low, high, color=colour, alpha=0.15, linewidth=0
            )


def _draw_reliability(panel: Axes, calibration: list[dict], names: list[str]) -> None:
    panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for found in (entry for entry in calibration if entry["forecast"] == FORECAST):
        name, curve = _name(found), found["reliability"]
        x, y = [bin_["forecast"] for bin_ in curve], [bin_["right"]["value"] for bin_ in curve]
        errors = [
            [bin_["right"]["value"] - bin_["right"]["low"] for bin_ in curve],
            [bin_["right"]["high"] - bin_["right"]["value"] for bin_ in curve],
        ]
        panel.errorbar(
            x,
            y,
            yerr=errors,
            color=colour_of(name, names),
            marker="o",
            markersize=3,
            elinewidth=0.8,
            label=f"{name}: {found['ece']['value']:.2f}",
        )
    panel.set(
        xlabel="score of the last step",
        ylabel="share of right answers",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    if panel.get_legend_handles_labels()[1]:
        panel.legend(title="calibration error", fontsize=6, title_fontsize=6, loc="upper left")
