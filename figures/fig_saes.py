"""How much of each layer its SAE keeps, on problems that it was not trained on."""

from pathlib import Path

from matplotlib.figure import Figure

from figures.style import COLOURS, error_bars, note_n
from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_json

PANELS = (
    ("fvu", "fraction of variance unexplained"),
    ("dead_share", "share of features that never fire"),
)


def find(settings: Settings) -> list[Path]:
    """Return the quality files of every SAE run. Raises: MissingInput."""
    runs = (path.parent for path in sorted(settings.sae_checkpoint_dir.glob("*/manifest.json")))
    found = [quality for run in runs for quality in sorted(run.glob("layer_*/quality.json"))]
    if not found:
        raise MissingInput("no SAEs; run invoke train-sae")
    return found


def draw(paths: list[Path]) -> Figure:
    """Draw a panel for each measure, a group of bars for each run."""
    runs = sorted({path.parents[1].name for path in paths})
    figure = Figure(figsize=(7.0, 2.8))
    for axes, (measure, label) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for index, run in enumerate(runs):
            qualities = [read_json(path) for path in paths if path.parents[1].name == run]
            width = 0.8 / len(runs)
            for quality in qualities:
                estimate = quality[measure]
                axes.bar(
                    quality["layer"] + (index - (len(runs) - 1) / 2) * width,
                    estimate["value"],
                    width=width,
                    color=COLOURS[index % len(COLOURS)],
                    yerr=error_bars(estimate["value"], estimate["low"], estimate["high"]),
                    error_kw={"elinewidth": 0.8},
                    label=run if quality is qualities[0] and len(runs) > 1 else None,
                )
        axes.set(xlabel="layer", ylabel=label, ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
    note_n(axes, f"{qualities[0]['n_rows']} rows of {qualities[0]['n_problems']} held-out problems")
    if len(runs) > 1:
        axes.legend()
    return figure
