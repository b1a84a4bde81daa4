"""One look for every figure, and the pieces that they are drawn from.

Colour-blind safe colours, one for each name; light grids; editable text in PDFs. A figure's title
is the question that it answers; its legend stands right of all axes and its note below them, so
that nothing lies over data. An interval that is not known is not drawn.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from msgspec import Struct

from rewardscope.errors import MissingInput
from rewardscope.records import Estimate

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#888888"
MOST_TICKS = 5
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
_LETTERS_AN_INCH = 19  # of a note


class Drawn(NamedTuple):
    """A value and its interval, NaN where one is not known."""

    value: float
    low: float
    high: float


def drawn(
    found: Estimate | Struct, *, value: str = "value", low: str = "low", high: str = "high"
) -> Drawn:
    """Return an estimate, or the row of a table, as numbers to draw."""
    return Drawn(*(_number(getattr(found, name)) for name in (value, low, high)))


def _number(given: float | None) -> float:
    return math.nan if given is None else given


def use_style() -> None:
    """Set matplotlib up; nothing is drawn on a screen."""
    mpl.use("agg")
    mpl.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": 160,
            "savefig.bbox": "tight",
            "pdf.fonttype": 42,
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "legend.fontsize": 8,
            "axes.axisbelow": True,
        }
    )


def canvas(
    question: str,
    *,
    rows: int,
    columns: int,
    width: float,
    height: float,
    sharey: bool = False,
    width_ratios: Sequence[float] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Return a figure with its question as title, and its axes [rows, columns]; inches a panel."""
    size = (width * columns + 2.2, height * rows + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(question, x=0.01, ha="left", fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey, width_ratios=width_ratios)
    return figure, axes


def finish(figure: Figure, note: str, *, handles: Iterable[Any] | None = None) -> Figure:
    """Add the note below all axes, and right of them the legend of every label drawn.

    `handles` stand in the legend in place of what is drawn.
    """
    lines = textwrap.wrap(note, int(figure.get_figwidth() * _LETTERS_AN_INCH))
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color="#555555")
    given = list(handles or [])
    labels = {handle.get_label(): handle for handle in given}
    if not given:
        for axes in figure.axes:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                labels.setdefault(label, handle)
    if labels:
        figure.legend(list(labels.values()), list(labels), loc="outside right center")
    return figure


def whole_results(data_dir: Path, pattern: str, *, missing: str) -> list[Path]:
    """Return the files of a pattern whose folder has a manifest.

    Raises: MissingInput with `missing` where there are none.
    """
    found = sorted(
        path for path in data_dir.glob(pattern) if (path.parent / "manifest.json").is_file()
    )
    if not found:
        raise MissingInput(missing)
    return found


def colour_of(name: str, names: Iterable[str]) -> str:
    """Return the colour of a series: the same for one name in every panel."""
    return COLOURS[sorted(set(names)).index(name) % len(COLOURS)]


def error_bars(estimate: Drawn) -> list[list[float]]:
    """Return an interval in the form that matplotlib's `yerr` takes."""
    return [[estimate.value - estimate.low], [estimate.high - estimate.value]]


def draw_line(
    axes: Axes,
    x: Sequence[float],
    estimates: Sequence[Drawn],
    *,
    colour: str,
    label: str,
    line: str = "-",
) -> None:
    """Draw a line with a point at each value, and a band between the bounds that are known."""
    values = [estimate.value for estimate in estimates]
    axes.plot(x, values, line, color=colour, marker="o", markersize=3, label=label)
    low, high = [e.low for e in estimates], [e.high for e in estimates]
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)


def draw_point(
    axes: Axes, x: float, estimate: Drawn, *, colour: str, label: str, marker: str = "o"
) -> None:
    """Draw a point with its interval."""
    axes.errorbar(
        x,
        estimate.value,
        yerr=error_bars(estimate),
        fmt=marker,
        markersize=4,
        color=colour,
        elinewidth=0.9,
        label=label,
    )


def draw_bar(
    axes: Axes, x: float, estimate: Drawn, *, width: float, colour: str, label: str
) -> None:
    """Draw a bar with its interval."""
    axes.bar(
        x,
        estimate.value,
        width=width,
        color=colour,
        yerr=error_bars(estimate),
        error_kw={"elinewidth": 0.9},
        label=label,
    )


def write_above(axes: Axes, x: float, estimate: Drawn, text: str) -> None:
    """Write a few letters above a value and its interval."""
    top = estimate.value if math.isnan(estimate.high) else estimate.high
    axes.annotate(
        text, (x, top), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7
    )


def whole_number_axis(axis: Axis) -> None:
    """Put ticks at whole numbers, at least two: an axis of less is made longer. Call it when all is
    drawn.
    """
    axes = axis.axes
    is_x = axis is axes.xaxis
    low, high = axes.get_xlim() if is_x else axes.get_ylim()
    if math.floor(high) - math.ceil(low) < 1:
        middle = round((low + high) / 2)
        (axes.set_xlim if is_x else axes.set_ylim)(middle - 1, middle + 1)
    axis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))


def log_x_axis(axes: Axes, low: float, high: float) -> None:
    """Make the x axis logarithmic, with a few plain numbers between positive bounds as ticks."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(PLAIN)


def symlog_axis(axes: Axes, which: Literal["x", "y"], *, linear: float, top: float) -> None:
    """Make an axis linear up to `linear` and logarithmic beyond, with 0 and powers of ten as
    ticks.
    """
    powers = range(round(math.log10(linear)), math.floor(math.log10(max(top, linear))) + 1)
    ticks = [0.0, *(10.0**power for power in powers)]
    scale, axis = (axes.set_xscale, axes.xaxis) if which == "x" else (axes.set_yscale, axes.yaxis)
    scale("symlog", linthresh=linear)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(PLAIN)


def log_ticks(low: float, high: float) -> list[float]:
    """Return at most MOST_TICKS round numbers from `low` to `high`, or the bounds where no two are
    between them.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [s * 10.0**p for p in powers for s in steps if low <= s * 10.0**p <= high]
        if len(ticks) <= MOST_TICKS:
            break
    if len(ticks) < 2:
        return sorted({float(f"{low:.2g}"), float(f"{high:.2g}")})
    return ticks[:: math.ceil(len(ticks) / MOST_TICKS)]
