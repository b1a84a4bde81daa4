"""Where PRMs err: false positives and false negatives by step number, step length and generator."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.prm_reports import ErrorRates, PrmReport, colours, find, plain, read_all
from figures.style import canvas, draw_line, draw_point, drawn, finish, log_x_axis

__all__ = ["draw", "find"]

QUESTION = "On which steps do PRMs err?"
RATES = (
    ("false_positive", "right steps\ntaken for wrong"),
    ("false_negative", "wrong steps\ntaken for right"),
)
BINNED = (("step number", "step number"), ("step length", "step length (characters)"))
GROUPED = "generator"
_WIDE = 8


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each kind of error, a panel for each thing that it may depend on."""
    reports = plain(read_all(paths))
    colour = colours(reports)
    groups = sorted(
        {each.group for report in reports for each in report.steps.errors if each.by == GROUPED}
    )
    columns = 3 if groups else 2
    figure, axes = canvas(QUESTION, rows=2, columns=columns, width=2.9, height=2.5)
    for row, (rate, label) in zip(axes, RATES, strict=True):
        for panel, (by, name) in zip(row, BINNED, strict=False):
            _binned(panel, reports, by, rate, colour)
            panel.set(xlabel=name, ylim=(0, 1.02))
        if groups:
            _grouped(row[2], reports, groups, rate, colour)
            row[2].tick_params(labelbottom=rate == RATES[-1][0])  # the same groups in both
        row[0].set_ylabel(label)
    steps = reports[0].steps
    note = (
        f"95 % over questions; {steps.right_steps} right steps and {steps.wrong_steps} first wrong"
        f" ones of {reports[0].solutions} solutions; a step is taken for wrong where it does not"
        " score above the threshold."
    )
    return finish(figure, note)


def _binned(
    panel: Axes, reports: list[PrmReport], by: str, rate: str, colour: dict[str, str]
) -> None:
    centres: list[float] = []
    for report in reports:
        here = [each for each in report.steps.errors if each.by == by and getattr(each, rate)]
        mine = [_centre(each) for each in here]
        draw_line(
            panel,
            mine,
            [drawn(getattr(each, rate)) for each in here],
            colour=colour[report.name],
            label=report.name,
        )
        centres += mine
    if centres and max(centres) > _WIDE * max(1.0, min(centres)):
        log_x_axis(panel, max(1.0, min(centres)), max(centres))


def _centre(each: ErrorRates) -> float:
    return (each.start + each.end) / 2


def _grouped(
    panel: Axes, reports: list[PrmReport], groups: list[str], rate: str, colour: dict[str, str]
) -> None:
    for place, report in enumerate(reports):
        rates = {each.group: each for each in report.steps.errors if each.by == GROUPED}
        for x, group in enumerate(groups):
            estimate = getattr(rates[group], rate) if group in rates else None
            if estimate is not None:
                draw_point(
                    panel,
                    x + 0.2 * (place - (len(reports) - 1) / 2),
                    drawn(estimate),
                    colour=colour[report.name],
                    label=report.name,
                )
    panel.set_xticks(range(len(groups)), groups, rotation=90, fontsize=6)
    panel.set(ylim=(0, 1.02), xlim=(-0.6, len(groups) - 0.4))
