"""What becomes of a PRM's scores when it is shown another question, or none; and how far two PRMs
agree.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.prm_reports import PrmReport, colours, find, read_all, short
from figures.style import canvas, draw_point, drawn, finish
from rewardscope.errors import MissingInput
from rewardscope.records import Estimate

__all__ = ["draw", "find"]

QUESTION = "Do PRMs read the question, and do they agree with one another?"
PANELS = (
    ("first wrong step found", 0.0),
    ("right steps taken for wrong", 0.0),
    ("AUROC, same step number", 0.5),
    ("same verdict on a step", 0.0),
    ("Spearman of step scores", 0.0),
)
OWN = "its question"


def draw(paths: list[Path]) -> Figure:
    """Draw a panel for each measure: conditions on the x axis, a colour for each PRM."""
    reports = read_all(paths)
    if not any(report.condition or report.against for report in reports):
        raise MissingInput(
            "no scores under another input and no comparison; run invoke prm-bench --against"
        )
    colour = colours(reports)
    conditions = [OWN, *sorted({report.condition for report in reports} - {""})]
    figure, axes = canvas(QUESTION, rows=1, columns=5, width=1.9, height=2.9)
    for panel, (label, least) in zip(axes[0], PANELS, strict=True):
        panel.set_title(label, fontsize=8)
        panel.set_ylim(least, 1.02)
    for report in reports:
        place = sorted(colour).index(report.name) - (len(colour) - 1) / 2
        x = conditions.index(report.condition or OWN) + 0.2 * place
        for panel, estimate in zip(axes[0, :3], _measures(report), strict=True):
            if estimate is not None:
                draw_point(panel, x, drawn(estimate), colour=colour[report.name], label=report.name)
    for panel in axes[0, :3]:
        panel.set_xticks(range(len(conditions)), conditions, rotation=90)
        panel.set_xlim(-0.6, len(conditions) - 0.4)
    _agreement(axes[0, 3], axes[0, 4], reports, colour)
    return finish(figure, "95 % over questions; the same solutions everywhere")


def _measures(report: PrmReport) -> tuple[Estimate | None, ...]:
    overall = next(each for each in report.steps.errors if each.by == "all")
    first = report.steps.first_error
    return (
        report.steps.first_error_found,
        overall.false_positive,
        first.same_step_number if first else None,
    )


def _agreement(
    verdict: Axes, spearman: Axes, reports: list[PrmReport], colour: dict[str, str]
) -> None:
    pairs: list[str] = []
    for report in reports:
        for each in report.against:
            same = short(each.other) == report.name
            name = f"{report.condition or OWN}" if same else "the other PRM"
            if name not in pairs:
                pairs.append(name)
            place = sorted(colour).index(report.name) - (len(colour) - 1) / 2
            x = pairs.index(name) + 0.2 * place
            for panel, estimate in ((verdict, each.same_verdict), (spearman, each.spearman)):
                if estimate is not None:
                    draw_point(
                        panel, x, drawn(estimate), colour=colour[report.name], label=report.name
                    )
    for panel in (verdict, spearman):
        panel.set_xticks(range(len(pairs)), pairs, rotation=90)
        panel.set_xlim(-0.6, max(len(pairs), 1) - 0.4)
