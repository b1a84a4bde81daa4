"""How much of each layer its SAE keeps, on problems that it was not trained on."""

from pathlib import Path

from matplotlib.figure import Figure

from figures.style import canvas, colour_of, draw_bar, drawn, finish, whole_number_axis
from rewardscope.errors import MissingInput
from rewardscope.records import LayerQuality
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_json_as

QUESTION = "How much of each layer does its SAE keep?"
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
    """Draw a panel for each measure, a group of bars for each layer, one for each run."""
    by_run: dict[str, list[LayerQuality]] = {}
    for path in paths:
        by_run.setdefault(path.parents[1].name, []).append(read_json_as(path, LayerQuality))
    width = 0.8 / len(by_run)
    figure, axes = canvas(QUESTION, rows=1, columns=len(PANELS), width=3.2, height=2.6)
    for panel, (measure, label) in zip(axes[0], PANELS, strict=True):
        for index, (run, qualities) in enumerate(by_run.items()):
            for quality in qualities:
                draw_bar(
                    panel,
                    quality.layer + (index - (len(by_run) - 1) / 2) * width,
                    drawn(getattr(quality, measure)),
                    width=width,
                    colour=colour_of(run, by_run),
                    label=run,
                )
        panel.set(xlabel="layer", ylabel=label, ylim=(0, None))
        whole_number_axis(panel.xaxis)
    counts = [
        f"{run}: {qualities[0].n_rows} rows of {qualities[0].n_problems} held-out problems"
        for run, qualities in by_run.items()
    ]
    return finish(figure, f"{'; '.join(counts)}; 95 %")
