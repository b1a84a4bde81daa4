"""One look for every figure: colour-blind safe colours, a colour per policy, light grids, editable
text in PDFs; and what to draw.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes

from rewardscope.errors import MissingInput

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#888888"


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
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "axes.axisbelow": True,
            "figure.constrained_layout.use": True,
        }
    )


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


def colour_of(name: str, names: Sequence[str]) -> str:
    """Return the colour of a series: the same for one name in every panel."""
    return COLOURS[sorted(set(names)).index(name) % len(COLOURS)]


def error_bars(value: float, low: float, high: float) -> list[list[float]]:
    """Return an interval in the form that matplotlib's `yerr` takes."""
    return [[value - low], [high - value]]


def note_n(axes: Axes, text: str) -> None:
    """Write the count behind a panel, and what its intervals are, below it."""
    axes.annotate(
        text,
        (0.5, 0),
        xytext=(0, -32),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=6.5,
        color=GREY,
    )
