"""Which features fire more on reasoning data, what they fire on, and under which controls they
still do: the paper's claim is about formatting tokens.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.style import (
    COLOURS,
    GREY,
    canvas,
    draw_bar,
    draw_point,
    drawn,
    finish,
    symlog_axis,
    whole_number_axis,
    write_above,
)
from rewardscope.errors import MissingInput
from rewardscope.features.diff_table import CONTROLS, FeatureDiff
from rewardscope.features.shares import ALL, DiffShare, read_shares
from rewardscope.log import get_logger
from rewardscope.settings import Settings
from rewardscope.statistics.intervals import wilson
from rewardscope.storage.files import manifest_of
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import read_csv_as

QUESTION = "Which features fire more on reasoning, do they fire on formatting, and what is left?"
FAVOURS = {"reasoning": COLOURS[1], "instruct": COLOURS[0], "neither": "#bbbbbb"}
# what is drawn for each control: the source and group of features, its colour and mark
SERIES = {
    ("sae", "all"): ("all features", COLOURS[1], "o"),
    ("sae", "stable"): ("stable features", COLOURS[2], "^"),
    ("sae", "unstable"): ("unstable features", COLOURS[3], "v"),
    ("frozen", "all"): ("frozen decoder", COLOURS[5], "s"),
    ("random", "all"): ("random directions", COLOURS[6], "D"),
    ("permuted", "all"): ("permuted problems", GREY, "x"),
}
_LINEAR = 1e-3  # firing rates below it lie on a linear piece of the axis
_MANY = 20_000  # points, beyond which a panel is drawn as pixels
_COLUMNS = ("layer", "rate_reasoning", "rate_instruct", "favours", "share_formatting")


class _Run(NamedTuple):
    """The features of an SAE as columns, and how many favour reasoning."""

    layer: np.ndarray
    rate_reasoning: np.ndarray
    rate_instruct: np.ndarray
    favours: np.ndarray
    share_formatting: np.ndarray
    shares: list[DiffShare]


def find(settings: Settings) -> list[Path]:
    """Return the finished tables of feature-diff: of each SAE one division into parts.

    Raises: MissingInput.
    """
    divisions: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in sorted(settings.data_dir.glob("features/*/diff/*")):
        if path.suffix in (".csv", ".parquet") and manifest_of(path).is_file():
            divisions[path.parent, path.name.partition("_of_")[2]].append(path)
    if not divisions:
        raise MissingInput("no compared features; run invoke feature-diff")
    found: dict[Path, list[Path]] = {}
    for (folder, _), parts in sorted(divisions.items(), key=lambda item: _worth(*item)):
        if folder in found:
            get_logger().info(f"figures: {found[folder][0]} is another division, left out")
        found[folder] = parts
    return [path for folder in sorted(found) for path in found[folder]]


def _worth(division: tuple[Path, str], parts: list[Path]) -> tuple[bool, str]:
    """Return what puts the division to draw last: whole ones after others, newer after older."""
    total = division[1].partition(".")[0]
    whole = not total or len(parts) == int(total)
    return whole, max(read_finished(path).created for path in parts)


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each SAE: firing rates on both sides, by layer the share of reasoning features
    that fire on formatting, and the share that favours reasoning under each control.
    """
    by_run: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        by_run[path.parents[1].name].append(path)
    runs = {name: _read(parts) for name, parts in by_run.items()}
    n_columns = 3 if any(run.shares for run in runs.values()) else 2
    figure, axes = canvas(QUESTION, rows=len(runs), columns=n_columns, width=3.2, height=2.9)
    seen: dict[str, Line2D] = {}
    for panels, (name, run) in zip(axes, runs.items(), strict=True):
        _draw_rates(panels[0], run)
        _draw_formatting(panels[1], run)
        panels[0].set_title(f"{name}: {len(run.layer)} features")
        for panel in panels[2:]:
            seen |= _draw_controls(panel, run.shares)
    favours = [_mark(f"favours {name}", colour, "o") for name, colour in FAVOURS.items()]
    return finish(
        figure,
        "left: firing rate of each feature, false discovery rate controlled within a layer; middle:"
        " most activation on whitespace, punctuation, Unicode, above the bars the number of"
        " features that favour reasoning; right: share of the features that fire which favour"
        " reasoning, on all rows and on rows matched in the other side, in brackets the share of"
        " rows that is left; 95 %, as if features were independent",
        handles=[*favours, *seen.values()],
    )


def _mark(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], marker=marker, linestyle="", markersize=4, color=colour, label=label)


def _read(parts: Sequence[Path]) -> _Run:
    tables = [_columns(path) for path in parts]
    columns = {name: np.concatenate([table[name] for table in tables]) for name in _COLUMNS}
    return _Run(**columns, shares=read_shares(parts))


def _columns(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".parquet":
        from rewardscope.features.diff_files import read_columns

        return read_columns(path, list(_COLUMNS))
    rows = read_csv_as(path, FeatureDiff)
    return {name: np.array([getattr(row, name) for row in rows]) for name in _COLUMNS}


def _draw_rates(panel: Axes, run: _Run) -> None:
    for name in reversed(FAVOURS):
        here = run.favours == name
        panel.scatter(
            run.rate_instruct[here],
            run.rate_reasoning[here],
            s=5,
            color=FAVOURS[name],
            label=name,
            linewidths=0,
            alpha=0.7,
            rasterized=len(here) > _MANY,
        )
    top = float(max(run.rate_instruct.max(), run.rate_reasoning.max()))
    panel.plot([0, top], [0, top], color=GREY, linewidth=0.8, linestyle=":")
    panel.set(xlabel="rate on instruct data", ylabel="rate on reasoning data")
    symlog_axis(panel, "x", linear=_LINEAR, top=top)
    symlog_axis(panel, "y", linear=_LINEAR, top=top)


def _draw_formatting(panel: Axes, run: _Run) -> None:
    favour = run.favours == "reasoning"
    for layer in np.unique(run.layer[favour]).tolist():
        formatting = run.share_formatting[favour & (run.layer == layer)] > 0.5
        share = drawn(wilson(int(formatting.sum()), len(formatting)))
        draw_bar(panel, layer, share, width=0.8, colour=FAVOURS["reasoning"], label="_share")
        write_above(panel, layer, share, str(len(formatting)))
    panel.set(title="reasoning features on formatting", xlabel="layer", ylim=(0, 1.1))
    panel.set_ylabel("share of reasoning features")
    if favour.any():
        panel.set_xlim(run.layer[favour].min() - 0.9, run.layer[favour].max() + 0.9)
    whole_number_axis(panel.xaxis)


def _draw_controls(panel: Axes, shares: Sequence[DiffShare]) -> dict[str, Line2D]:
    """Draw a point for each control and series; return a mark for each series by its label."""
    if not shares:
        panel.set_axis_off()
        return {}
    names = ("none", *CONTROLS)
    found = _by_series(shares)
    known = {key: found[key] for key in SERIES if key in found}
    offsets = np.linspace(-0.3, 0.3, len(known)) if len(known) > 1 else [0.0]
    kept = dict.fromkeys(names, 1.0)
    for offset, (key, rows) in zip(offsets, known.items(), strict=True):
        label, colour, marker = SERIES[key]
        for place, (name, of_control) in enumerate((name, rows.get(name, [])) for name in names):
            n, count = sum(row.n for row in of_control), sum(row.count for row in of_control)
            if n:
                point = drawn(wilson(count, n))
                draw_point(panel, place + offset, point, colour=colour, label=label, marker=marker)
            if key == ("sae", "all") and of_control:
                kept[name] = min(min(r.kept_reasoning, r.kept_instruct) for r in of_control)
    ticks = [f"{name} ({kept[name]:.0%})" for name in names]
    panel.set_xticks(range(len(names)), ticks, rotation=40, ha="right", fontsize=7)
    panel.set(title="favours reasoning, by control")
    panel.set_ylim(bottom=-0.03 * panel.get_ylim()[1])  # so that marks at 0 are whole
    panel.set_ylabel("share of features")
    return {SERIES[key][0]: _mark(*SERIES[key]) for key in SERIES if key in known}


def _by_series(shares: Sequence[DiffShare]) -> dict[tuple[str, str], dict[str, list[DiffShare]]]:
    """Return the rows of each source and group by control; numbered sources are one."""
    found: dict[tuple[str, str], dict[str, list[DiffShare]]] = defaultdict(dict)
    for row in _counted(shares):
        source = row.source.partition("-")[0]
        found[source, row.group].setdefault(row.control, []).append(row)
    return found


def _counted(shares: Sequence[DiffShare]) -> Iterator[DiffShare]:
    return (row for row in shares if row.category == ALL)
