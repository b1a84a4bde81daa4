"""Whether a probe fitted to one policy's traces reads another's: train against test by layer, and
what is lost in between.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from figures.style import GREY, colour_of, note_n, whole_results
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_csv

# with the value of a probe that knows nothing
METRICS = {"reward": ("R²", 0.0), "correct": ("AUROC", 0.5)}
_MAPS = 3


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
    figure = Figure(figsize=(2.3 * _MAPS + 5.6, 2.7 * len(paths)))
    grid = figure.subplots(len(paths), _MAPS + 1, squeeze=False, width_ratios=[1] * _MAPS + [1.5])
    for axes, path in zip(grid, paths, strict=True):
        _draw_row(figure, axes, read_csv(path))
    return figure


def _draw_row(figure: Figure, axes: np.ndarray, rows: list[dict[str, str]]) -> None:
    names = list(dict.fromkeys(row["train"] for row in rows))
    layers = sorted({int(row["layer"]) for row in rows})
    metric, chance = METRICS[rows[0]["target"]]
    shown = sorted({layers[round(place)] for place in np.linspace(0, len(layers) - 1, _MAPS)})
    image = None
    for panel, layer in zip(axes, shown, strict=False):
        value = {
            (row["train"], row["test"]): float(row["value"])
            for row in rows
            if int(row["layer"]) == layer
        }
        table = np.array([[value[train, test] for test in names] for train in names])
        image = panel.imshow(table, vmin=chance, vmax=1, cmap="viridis")
        for (y, x), number in np.ndenumerate(table):
            colour = "black" if number > (1 + chance) / 2 else "white"
            panel.text(
                x,
                y,
                f"{number:.2f}" if number > -10 else "< -10",
                ha="center",
                va="center",
                fontsize=7,
                color=colour,
            )
        panel.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=6)
        panel.set_yticks(
            range(len(names)), names if panel is axes[0] else [""] * len(names), fontsize=6
        )
        panel.set(title=f"layer {layer}", xlabel="scored on")
        panel.grid(visible=False)
    axes[0].set_ylabel(f"{metric} of {rows[0]['target']}\nfitted to")
    for panel in axes[len(shown) : _MAPS]:
        panel.set_visible(False)
    if image is not None:
        figure.colorbar(image, ax=axes[len(shown) - 1], shrink=0.8)
    _draw_loss(axes[-1], rows, names, metric)


def _draw_loss(panel, rows: list[dict[str, str]], names: list[str], metric: str) -> None:
    pairs = [(train, test) for train in names for test in names if train != test]
    labels = [f"{train} → {test}" for train, test in pairs]
    panel.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    for (train, test), label in zip(pairs, labels, strict=True):
        here = sorted(
            (row for row in rows if (row["train"], row["test"]) == (train, test)),
            key=lambda row: int(row["layer"]),
        )
        layers, colour = [int(row["layer"]) for row in here], colour_of(label, labels)
        low, high = ([float(row[bound]) for row in here] for bound in ("loss_low", "loss_high"))
        panel.plot(
            layers,
            [float(row["loss"]) for row in here],
            color=colour,
            marker="o",
            markersize=3,
            label=label,
        )
        panel.fill_between(layers, low, high, color=colour, alpha=0.18, linewidth=0)
    panel.set(title="lost in transfer", xlabel="layer", ylabel=f"{metric} below the own probe")
    if max(float(row["loss_high"]) for row in rows) > 2:
        panel.set_yscale("symlog", linthresh=1)  # a turned direction can cost any amount of R²
    panel.xaxis.get_major_locator().set_params(integer=True)
    note_n(panel, f"{rows[0]['n_test_problems']} test problems; 95 % over problems")
    panel.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
