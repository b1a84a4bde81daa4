"""Distinct reward patterns: step scores against position, step length and step count by policy, and
scores as forecasts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.names import datasets, labels
from figures.reports import Calibration, PatternsReport, TraceCounts
from figures.style import (
    GREY,
    canvas,
    colour_of,
    draw_line,
    drawn,
    finish,
    log_x_axis,
    whole_number_axis,
    whole_results,
)
from rewardscope.records import PatternBin
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_csv_as, read_json_as

QUESTION = "What do the PRM's scores follow, and are they forecasts of a right answer?"
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
    figure, axes = canvas(QUESTION, rows=len(paths), columns=4, width=2.6, height=2.5)
    series, sources, errors = {}, [], []
    for row, path in zip(axes, paths, strict=True):
        rows = read_csv_as(path, PatternBin)
        report = read_json_as(path.with_name("report.json"), PatternsReport)
        names = names_of(path, report.counts)
        series |= {name_of(count, names): None for count in report.counts}
        sources += [count.policy for count in report.counts]
        for panel, by in zip(row, BY, strict=False):
            _draw_means(panel, [each for each in rows if each.by == by], names)
            unit = f" ({report.step_length_unit})" if by == "step length" else ""
            panel.set(xlabel=f"{by}{unit}", ylim=(0, 1.02) if report.calibration else None)
        row[0].set_ylabel("mean step score")
        errors += _draw_reliability(row[3], report.calibration, names)
    lines = [
        Line2D([], [], color=colour_of(name, series), marker="o", markersize=3, label=name)
        for name in series
    ] + [
        Line2D([], [], color=GREY, linestyle="-" if line == "-" else "--", label=f"{answer} answer")
        for answer, line in LINES.items()
    ]
    told = f"; calibration error of the last step's score: {', '.join(errors)}" if errors else ""
    note = f"{datasets(paths[0].parents[2], sources)}mean and 95 % over problems{told}"
    return finish(figure, note, handles=lines)


def names_of(path: Path, counts: Sequence[TraceCounts]) -> dict[str, str]:
    """Return what each policy of a result is called."""
    return labels(path.parents[2], dict.fromkeys(count.policy for count in counts))


def name_of(row: PatternBin | TraceCounts | Calibration, names: Mapping[str, str]) -> str:
    """Return what the series of a row is called."""
    beyond = "" if row.window == "inside" else " (beyond the window)"
    return names[row.policy] + beyond


def _draw_means(panel: Axes, rows: list[PatternBin], names: Mapping[str, str]) -> None:
    if not rows:
        return
    every = {name_of(row, names) for row in rows}
    for name in sorted(every):
        for answer, line in LINES.items():
            here = [row for row in rows if (name_of(row, names), row.answer) == (name, answer)]
            values = [drawn(row, value="mean") for row in here]
            draw_line(
                panel,
                [(row.start + row.end) / 2 for row in here],
                values,
                colour=colour_of(name, _all_names(names, every)),
                label=f"{name}, {answer}",
                line=line,
            )
    centres = [(row.start + row.end) / 2 for row in rows]
    if rows[0].by == "position":
        panel.set_xlim(0, 1)
    elif max(centres) > _WIDE * max(1.0, min(centres)):
        log_x_axis(panel, max(1.0, min(centres)), max(centres))
    else:
        whole_number_axis(panel.xaxis)


def _all_names(names: Mapping[str, str], every: set[str]) -> list[str]:
    return [*names.values(), *every]


def _draw_reliability(
    panel: Axes, calibration: Sequence[Calibration], names: Mapping[str, str]
) -> list[str]:
    """Draw the share of right answers by score; return each calibration error as text."""
    panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    shown = [entry for entry in calibration if entry.forecast == FORECAST]
    every = {name_of(entry, names) for entry in shown}
    errors = []
    for entry in shown:
        name, curve = name_of(entry, names), entry.reliability
        right = [drawn(bin_.right) for bin_ in curve]
        panel.errorbar(
            [bin_.forecast for bin_ in curve],
            [e.value for e in right],
            yerr=[[e.value - e.low for e in right], [e.high - e.value for e in right]],
            color=colour_of(name, _all_names(names, every)),
            marker="o",
            markersize=3,
            elinewidth=0.8,
            label=name,
        )
        noise = entry.ece_calibrated
        beside = "" if noise is None else f" ({noise:.2f} if calibrated)"
        errors.append(f"{name} {entry.ece.value:.2f}{beside}")
    panel.set(xlabel="score of the last step", ylabel="share of right answers")
    panel.set(xlim=(-0.02, 1.02), ylim=(0, 1.02))
    return errors
