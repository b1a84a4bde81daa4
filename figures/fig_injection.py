"""What a feature's tokens bring back of its activation on reasoning, against random tokens as
frequent, and how many features are token-driven.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, GREY, canvas, draw_bar, drawn, finish, whole_results, write_above
from rewardscope.features.injection_table import VERDICTS, VerdictRow
from rewardscope.settings import Settings
from rewardscope.statistics.intervals import wilson
from rewardscope.storage.tables import read_csv_as

QUESTION = "Do a feature's tokens alone bring its activation on reasoning back?"
COLOUR = dict(zip(VERDICTS, (COLOURS[1], COLOURS[4], COLOURS[0], GREY), strict=True))
LEAST, MOST = -0.5, 2.0  # shares beyond are drawn at the edge


def find(settings: Settings) -> list[Path]:
    """Return the verdicts of inject, a file for each result. Raises: MissingInput."""
    return whole_results(
        settings.data_dir,
        "features/*/inject/*/verdicts.csv",
        missing="no tokens were put into text; run invoke inject",
    )


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each result: a point for each feature, and the share of each verdict."""
    figure, axes = canvas(
        QUESTION, rows=len(paths), columns=2, width=3.2, height=2.9, width_ratios=(1.2, 1)
    )
    beyond = 0
    for (shares, verdicts), path in zip(axes, paths, strict=True):
        rows = read_csv_as(path, VerdictRow)
        beyond += _draw_shares(shares, rows)
        _draw_verdicts(verdicts, rows)
        shares.set_title(f"{path.parents[2].name}: {len(rows)} features", loc="left")
    edge = f"; {beyond} features beyond the axes are drawn at their edge" if beyond else ""
    return finish(
        figure,
        "left: share of the activation on reasoning text that comes back, of each feature by its"
        " best strategy; on the dotted line random tokens do as much; right: above the bars the"
        f" number of features; 95 % over features{edge}",
    )


def _draw_shares(panel: Axes, rows: list[VerdictRow]) -> int:
    """Draw the points, and return how many lie beyond the axes."""
    beyond = 0
    panel.plot([LEAST, MOST], [LEAST, MOST], color=GREY, linewidth=0.8, linestyle=":")
    for verdict in VERDICTS:
        known = [
            (row.share_control, row.share)
            for row in rows
            if row.verdict == verdict and row.share_control is not None and row.share is not None
        ]
        inside = [tuple(min(max(value, LEAST), MOST) for value in point) for point in known]
        beyond += sum(one != other for one, other in zip(known, inside, strict=True))
        if inside:
            panel.scatter(
                *zip(*inside, strict=True), s=12, color=COLOUR[verdict], label=verdict, alpha=0.8
            )
    margin = 0.08
    panel.set(
        xlabel="share with random tokens",
        ylabel="share with its own tokens",
        xlim=(LEAST - margin, MOST + margin),
        ylim=(LEAST - margin, MOST + margin),
    )
    return beyond


def _draw_verdicts(panel: Axes, rows: list[VerdictRow]) -> None:
    found = [row.verdict for row in rows]
    for x, verdict in enumerate(VERDICTS):
        share = drawn(wilson(found.count(verdict), len(found)))
        draw_bar(panel, x, share, width=0.7, colour=COLOUR[verdict], label=verdict)
        write_above(panel, x, share, str(found.count(verdict)))
    panel.set(ylabel="share of features", ylim=(0, 1.15), xlim=(-0.6, len(VERDICTS) - 0.4))
    panel.set_xticks([])
