"""ProcessBench by subset: how often PRMs find the first wrong step, and pass right solutions."""

from pathlib import Path

from matplotlib.figure import Figure

from figures.prm_reports import colours, find, plain, read_all
from figures.style import canvas, draw_point, drawn, finish
from rewardscope.errors import MissingInput

__all__ = ["draw", "find"]

QUESTION = "How well do PRMs find the first wrong step?"
PANELS = (
    ("f1", "F1"),
    ("error_accuracy", "first wrong step found"),
    ("correct_accuracy", "right solutions passed"),
)


def draw(paths: list[Path]) -> Figure:
    """Draw a panel for each metric, a point with its interval for each PRM and subset."""
    reports = [report for report in plain(read_all(paths)) if report.processbench]
    if not reports:
        raise MissingInput("no report on ProcessBench; run invoke prm-bench on its files")
    colour = colours(reports)
    subsets = list(
        dict.fromkeys(name for r in reports if r.processbench for name in r.processbench.subsets)
    )
    figure, axes = canvas(QUESTION, rows=1, columns=3, width=2.7, height=2.6, sharey=True)
    for panel, (metric, label) in zip(axes[0], PANELS, strict=True):
        for place, report in enumerate(reports):
            found = report.processbench.subsets if report.processbench else {}
            for x, subset in enumerate(subsets):
                estimate = getattr(found[subset], metric) if subset in found else None
                if estimate is not None:
                    draw_point(
                        panel,
                        x + 0.16 * (place - (len(reports) - 1) / 2),
                        drawn(estimate),
                        colour=colour[report.name],
                        label=report.name,
                    )
        panel.set_title(label)
        panel.set_xticks(range(len(subsets)), subsets)
        panel.set(xlim=(-0.6, len(subsets) - 0.4), ylim=(0, 1.02))
    counts = ", ".join(f"{report.name} {report.solutions}" for report in reports)
    note = (
        f"95 % over questions; solutions: {counts}. A subset without solutions of both kinds has no"
        " F1."
    )
    return finish(figure, note)
