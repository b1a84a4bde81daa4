"""Which features fire more on reasoning data, and what they fire on: the paper's claim is about
formatting tokens.
"""

from collections import defaultdict
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.style import (
    COLOURS,
    GREY,
    canvas,
    draw_bar,
    drawn,
    finish,
    symlog_axis,
    whole_number_axis,
    write_above,
)
from rewardscope.errors import MissingInput
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.log import get_logger
from rewardscope.settings import Settings
from rewardscope.statistics.intervals import wilson
from rewardscope.storage.files import manifest_of
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import read_csv_as

QUESTION = "Which features fire more on reasoning, and do they fire on formatting?"
FAVOURS = {"reasoning": COLOURS[1], "instruct": COLOURS[0], "neither": "#bbbbbb"}
_LINEAR = 1e-3  # firing rates below it lie on a linear piece of the axis


def find(settings: Settings) -> list[Path]:
    """Return the finished tables of feature-diff: of each SAE one division into parts.

    Raises: MissingInput.
    """
    divisions: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in sorted(settings.data_dir.glob("features/*/diff/*.csv")):
        if manifest_of(path).is_file():
            divisions[path.parent, path.stem.partition("_of_")[2]].append(path)
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
    whole = not division[1] or len(parts) == int(division[1])
    return whole, max(read_finished(path).created for path in parts)


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each SAE: firing rates on both sides, and by layer the share of reasoning
    features that fire on formatting.
    """
    by_run: dict[str, list[FeatureDiff]] = defaultdict(list)
    for path in paths:
        by_run[path.parents[1].name] += read_csv_as(path, FeatureDiff)
    figure, axes = canvas(QUESTION, rows=len(by_run), columns=2, width=3.2, height=2.9)
    for (rates, shares), (run, rows) in zip(axes, by_run.items(), strict=True):
        _draw_rates(rates, rows)
        _draw_shares(shares, rows)
        rates.set_title(f"{run}: {len(rows)} features")
    return finish(
        figure,
        "left: firing rate of each feature, false discovery rate controlled within a layer; right:"
        " most activation on whitespace, punctuation, Unicode, above the bars the number of"
        " features that favour reasoning; 95 %",
        handles=[
            Line2D(
                [],
                [],
                marker="o",
                linestyle="",
                markersize=4,
                color=colour,
                label=f"favours {name}",
            )
            for name, colour in FAVOURS.items()
        ],
    )


def _draw_rates(panel: Axes, rows: list[FeatureDiff]) -> None:
    for name in reversed(FAVOURS):
        here = [row for row in rows if row.favours == name]
        panel.scatter(
            [row.rate_instruct for row in here],
            [row.rate_reasoning for row in here],
            s=5,
            color=FAVOURS[name],
            label=name,
            linewidths=0,
            alpha=0.7,
        )
    top = max(max(row.rate_instruct, row.rate_reasoning) for row in rows)
    panel.plot([0, top], [0, top], color=GREY, linewidth=0.8, linestyle=":")
    panel.set(xlabel="rate on instruct data", ylabel="rate on reasoning data")
    symlog_axis(panel, "x", linear=_LINEAR, top=top)
    symlog_axis(panel, "y", linear=_LINEAR, top=top)


def _draw_shares(panel: Axes, rows: list[FeatureDiff]) -> None:
    by_layer: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        if row.favours == "reasoning":
            by_layer[row.layer].append(row.share_formatting > 0.5)
    for layer, formatting in sorted(by_layer.items()):
        found = wilson(sum(formatting), len(formatting))
        share = drawn(found)
        draw_bar(panel, layer, share, width=0.8, colour=FAVOURS["reasoning"], label="_share")
        write_above(panel, layer, share, str(len(formatting)))
    panel.set(title="reasoning features on formatting", xlabel="layer", ylim=(0, 1.1))
    panel.set_ylabel("share of reasoning features")
    whole_number_axis(panel.xaxis)
