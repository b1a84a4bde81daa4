"""What tests of figures look at: values, bounds and labels as drawn, and whether it can be read."""

import itertools
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from figures.style import use_style

use_style()


class Seen(NamedTuple):
    """A drawn value and the ends of its error bar, None where there is none."""

    x: float
    value: float
    low: float | None
    high: float | None


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Return the points of every labelled line."""
    return {
        str(line.get_label()): list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def bands(axes: Axes) -> list[set[tuple[float, float]]]:
    """Return the corners of every filled band, in the order of drawing."""
    return [
        {(x, y) for path in band.get_paths() for x, y in path.vertices.tolist()}
        for band in axes.collections
        if isinstance(band, PolyCollection)
    ]


def bars(axes: Axes) -> dict[str, list[Seen]]:
    """Return the bars of every label with their intervals."""
    found: dict[str, list[Seen]] = {}
    for container in axes.containers:
        if isinstance(container, BarContainer):
            (patch,) = container.patches
            ends = _ends(container.errorbar)
            x, value = patch.get_x() + patch.get_width() / 2, patch.get_height()
            found.setdefault(container.get_label(), []).append(Seen(x, value, *ends))
    return found


def points(axes: Axes) -> dict[str, list[Seen]]:
    """Return the points of every label with their intervals."""
    found: dict[str, list[Seen]] = {}
    labelled = (c for c in axes.containers if not c.get_label().startswith("_"))
    for container in labelled:
        if isinstance(container, ErrorbarContainer):
            (x,), (value,) = container.lines[0].get_data()
            found.setdefault(container.get_label(), []).append(Seen(x, value, *_ends(container)))
    return found


def _ends(container: ErrorbarContainer) -> tuple[float | None, float | None]:
    (segment,) = container.lines[2][0].get_segments()
    return tuple(float(y) for _, y in segment) if len(segment) else (None, None)


def legend(figure: Figure) -> list[str]:
    """Return the entries of the one legend."""
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def assert_readable(figure: Figure) -> None:
    """Check that nothing lies over anything, that all is in the picture, and no entry is empty.

    The title is a question; legends stand outside of the axes.
    """
    FigureCanvasAgg(figure).draw()
    assert figure.get_suptitle().endswith("?")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert all(axes.get_legend() is None for axes in panels), "a legend within axes"
    for entries in figure.legends:
        texts = [text.get_text().strip() for text in entries.get_texts()]
        assert all(texts) and len(set(texts)) == len(texts), texts
    words = [t for axes in panels for t in [axes.title, axes.xaxis.label, axes.yaxis.label]]
    around = [_box(t) for t in [figure._suptitle, figure._supxlabel, *words] if t.get_text()]
    around += [entries.get_window_extent() for entries in figure.legends]
    inside = [axes.get_window_extent() for axes in panels]
    for one, other in itertools.combinations([*around, *inside], 2):
        assert not _overlap(one, other), (figure.get_suptitle(), one, other)
    for axes in panels:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
            shown = [t.label1 for t in ticks if t.label1.get_text() and t.label1.get_visible()]
            for one, other in itertools.pairwise(shown):
                if one.get_rotation() == 0:
                    assert not _overlap(_box(one), _box(other)), (one, other)
            # one number tells no scale; one policy is a policy
            assert len(shown) != 1 or shown[0].get_text().isalpha(), axis.label.get_text()
    # a note longer than the picture would be cut
    width, height = figure.canvas.get_width_height()
    for box in around:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 1 and box.y1 <= height + 1, box


def _box(text: Text) -> Bbox:
    return text.get_window_extent()


def _overlap(one: Bbox, other: Bbox) -> bool:
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > 1
        and min(one.y1, other.y1) - max(one.y0, other.y0) > 1
    )
