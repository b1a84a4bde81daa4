"""Scores along right and wrong solutions and round the first wrong step; what they add to the
position.
"""

from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.prm_reports import PrmReport, colours, find, plain, read_all
from figures.style import GREY, canvas, draw_line, draw_point, drawn, finish, whole_number_axis

__all__ = ["draw", "find"]

QUESTION = "Do scores fall where a solution goes wrong, or with its length?"
LINES: dict[str, Literal["-", "--"]] = {"right": "-", "wrong": "--"}


def draw(paths: list[Path]) -> Figure:
    """Draw scores by position, by distance to the first wrong step, and how well they tell wrong
    steps from right ones, by step number and beside the position alone.
    """
    reports = plain(read_all(paths))
    colour = colours(reports)
    figure, axes = canvas(QUESTION, rows=2, columns=2, width=3.2, height=2.6)
    for report in reports:
        _along(axes[0, 0], report, "position", colour[report.name])
        _along(axes[0, 1], report, "steps from the first wrong one", colour[report.name])
        _by_number(axes[1, 0], report, colour[report.name])
    axes[0, 0].set(xlabel="relative position", ylabel="mean step score", xlim=(0, 1))
    for panel in axes[0]:
        panel.set_ylim((0, 1.02) if all(r.steps.calibration for r in reports) else None)
    axes[0, 1].set(xlabel="steps from the first wrong one", ylabel="mean step score")
    whole_number_axis(axes[0, 1].xaxis)
    axes[0, 1].axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    axes[1, 0].set(xlabel="step number", ylabel="AUROC, first wrong step", ylim=(0, 1.02))
    whole_number_axis(axes[1, 0].xaxis)
    _beside_baselines(axes[1, 1], reports, colour)
    handles = [
        Line2D([], [], color=colour[r.name], marker="o", markersize=3, label=r.name)
        for r in reports
    ]
    handles += [
        Line2D([], [], color=GREY, linestyle=line, label=f"{solution} solutions")
        for solution, line in LINES.items()
    ]
    handles.append(Line2D([], [], color=GREY, marker="s", linestyle="", label="without scores"))
    return finish(figure, "mean, AUROC and 95 % over questions", handles=handles)


def _along(panel: Axes, report: PrmReport, by: str, colour: str) -> None:
    for solution, line in LINES.items():
        here = [e for e in report.steps.along if (e.by, e.solution) == (by, solution)]
        if here:
            draw_line(
                panel,
                [each.at for each in here],
                [drawn(each.mean) for each in here],
                colour=colour,
                label=f"{report.name}, {solution}",
                line=line,
            )


def _by_number(panel: Axes, report: PrmReport, colour: str) -> None:
    panel.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    found = report.steps.first_error.by_step_number if report.steps.first_error else ()
    draw_line(
        panel,
        [each.number for each in found],
        [drawn(each.auroc) for each in found],
        colour=colour,
        label=report.name,
    )


def _beside_baselines(panel: Axes, reports: list[PrmReport], colour: dict[str, str]) -> None:
    panel.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    found = [(r, r.steps.first_error) for r in reports if r.steps.first_error is not None]
    names = ["all steps", "same step number"]
    for place, (report, first) in enumerate(found):
        for x, estimate in enumerate((first.auroc, first.same_step_number)):
            draw_point(
                panel,
                x + 0.2 * (place - (len(found) - 1) / 2),
                drawn(estimate),
                colour=colour[report.name],
                label=report.name,
            )
    for name, estimate in found[0][1].baselines.items() if found else ():
        draw_point(
            panel, len(names), drawn(estimate), colour=GREY, label="without scores", marker="s"
        )
        names.append(f"{name} alone")
    panel.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=7)
    panel.set(ylabel="AUROC", ylim=(0, 1.02), xlim=(-0.6, len(names) - 0.4))
