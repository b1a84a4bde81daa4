"""Whether a probe fitted to one policy's traces reads another's: train against test by layer, and
what is lost in between.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.names import datasets, labels
from figures.style import (
    GREY,
    canvas,
    colour_of,
    draw_line,
    drawn,
    finish,
    symlog_axis,
    whole_number_axis,
    whole_results,
)
from rewardscope.records import TransferResult
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_csv_as

QUESTION = "Does a probe fitted to one policy's traces read another's?"
# with the value of a probe that knows nothing
METRICS = {"reward": ("R²", 0.0), "correct": ("AUROC", 0.5)}
_MAPS = 3
_FAR = 10.0  # a turned direction can cost any amount of R²


def find(settings: Settings) -> list[Path]:
    """Return the tables of probe-transfer. Raises: MissingInput."""
    return whole_results(
        settings.data_dir,
        "probe-transfer/*/*/results.csv",
        missing="no transfer results; run invoke probe-transfer",
    )


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each table: heat maps of some layers, the within-policy probes on the
    diagonal, then the loss by layer.
    """
    tables, data_dir = [read_csv_as(path, TransferResult) for path in paths], paths[0].parents[3]
    names = labels(data_dir, dict.fromkeys(row.train for rows in tables for row in rows))
    pairs = [_pair(row, names) for rows in tables for row in rows if row.train != row.test]
    figure, axes = canvas(
        QUESTION,
        rows=len(paths),
        columns=_MAPS + 1,
        width=2.3,
        height=2.6,
        width_ratios=[1] * _MAPS + [1.4],
    )
    for row, rows in zip(axes, tables, strict=True):
        _draw_maps(figure, row[:_MAPS], rows, names)
        _draw_loss(row[_MAPS], rows, names, sorted(set(pairs)))
    counts = {row.n_test_problems for rows in tables for row in rows}
    n = " to ".join(map(str, sorted({min(counts), max(counts)})))
    return finish(
        figure,
        f"{datasets(data_dir, names)}{n} test problems; 95 % over problems; maps: the darkest"
        " colour is a probe that knows nothing, or worse",
    )


def _pair(row: TransferResult, names: Mapping[str, str]) -> str:
    return f"{names[row.train]} → {names[row.test]}"


def _draw_maps(
    figure: Figure, panels: np.ndarray, rows: list[TransferResult], names: Mapping[str, str]
) -> None:
    here = list(dict.fromkeys(row.train for row in rows))
    layers = sorted({row.layer for row in rows})
    metric, chance = METRICS[rows[0].target]
    shown = sorted({layers[round(place)] for place in np.linspace(0, len(layers) - 1, _MAPS)})
    image = None
    for panel, layer in zip(panels, shown, strict=False):
        value = {(row.train, row.test): row.value for row in rows if row.layer == layer}
        table = np.array([[value[train, test] for test in here] for train in here])
        image = panel.imshow(table, vmin=chance, vmax=1, cmap="viridis")
        for (y, x), number in np.ndenumerate(table):
            colour = "black" if number > (1 + chance) / 2 else "white"
            text = f"{number:.2f}" if number > -10 else "< -10"
            panel.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
        called = [names[name] for name in here]
        panel.set_xticks(range(len(here)), called, rotation=30, ha="right", fontsize=7)
        panel.set_yticks(
            range(len(here)), called if panel is panels[0] else [""] * len(here), fontsize=7
        )
        panel.set(title=f"layer {layer}", xlabel="scored on")
        panel.grid(visible=False)
    panels[0].set_ylabel(f"target: {rows[0].target}\nfitted to")
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    if image is not None:
        bar = figure.colorbar(image, ax=list(panels[: len(shown)]), extend="min", aspect=15)
        bar.set_label(metric)
        bar.set_ticks([chance, (chance + 1) / 2, 1])


def _draw_loss(
    panel: Axes, rows: list[TransferResult], names: Mapping[str, str], pairs: list[str]
) -> None:
    metric, _ = METRICS[rows[0].target]
    panel.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    foreign = [row for row in rows if row.train != row.test]
    for pair in dict.fromkeys(_pair(row, names) for row in foreign):
        here = sorted(
            (row for row in foreign if _pair(row, names) == pair), key=lambda row: row.layer
        )
        losses = [drawn(row, value="loss", low="loss_low", high="loss_high") for row in here]
        layers = [row.layer for row in here]
        draw_line(panel, layers, losses, colour=colour_of(pair, pairs), label=pair)
    panel.set(title="lost in transfer", xlabel="layer", ylabel=f"{metric} below the own probe")
    top = max((row.loss_high or row.loss for row in foreign), default=0.0)
    if top > _FAR:
        symlog_axis(panel, "y", linear=1, top=top)
    whole_number_axis(panel.xaxis)
