"""Step scores as chances that a step is right: reliability, and calibration error by group."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.prm_reports import PrmReport, colours, find, plain, read_all
from figures.style import GREY, canvas, draw_point, drawn, finish
from rewardscope.errors import MissingInput

__all__ = ["draw", "find"]

QUESTION = "Are step scores chances that a step is right?"
GROUPS = ("subset", "style", "generator")


def draw(paths: list[Path]) -> Figure:
    """Draw the reliability of each PRM, and beside it the calibration error of each group."""
    reports = [report for report in plain(read_all(paths)) if report.steps.calibration]
    if not reports:
        raise MissingInput("no PRM with scores from 0 to 1; only those can be chances")
    colour = colours(reports)
    figure, axes = canvas(QUESTION, rows=1, columns=2, width=3.6, height=3.0, width_ratios=(1, 1.4))
    for report in reports:
        _reliability(axes[0, 0], report, colour[report.name])
    _by_group(axes[0, 1], reports, colour)
    note = "95 % over questions; all steps before the first wrong one are right, later ones unknown"
    return finish(figure, note)


def _reliability(panel: Axes, report: PrmReport, colour: str) -> None:
    panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    (curve,) = [each.reliability for each in report.steps.calibration if each.by == "all"]
    right = [drawn(each.right) for each in curve]
    panel.errorbar(
        [each.forecast for each in curve],
        [e.value for e in right],
        yerr=[[e.value - e.low for e in right], [e.high - e.value for e in right]],
        color=colour,
        marker="o",
        markersize=3,
        elinewidth=0.8,
        label=report.name,
    )
    panel.set(xlabel="step score", ylabel="share of right steps")
    panel.set(xlim=(-0.02, 1.02), ylim=(0, 1.02))


def _by_group(panel: Axes, reports: list[PrmReport], colour: dict[str, str]) -> None:
    names = list(
        dict.fromkeys(
            (each.by, each.group)
            for by in ("all", *GROUPS)
            for report in reports
            for each in report.steps.calibration
            if each.by == by
        )
    )
    for place, report in enumerate(reports):
        found = {(each.by, each.group): each for each in report.steps.calibration}
        for x, name in enumerate(names):
            if name in found:
                draw_point(
                    panel,
                    x + 0.2 * (place - (len(reports) - 1) / 2),
                    drawn(found[name].ece),
                    colour=colour[report.name],
                    label=report.name,
                )
    shown = ["all steps" if by == "all" else group for by, group in names]
    panel.set_xticks(range(len(names)), shown, rotation=90, fontsize=6)
    panel.set(ylabel="calibration error", xlim=(-0.6, len(names) - 0.4))
    panel.set_ylim(bottom=0)
