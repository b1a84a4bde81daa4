"""What is left of the PRM's rewards with an SAE in the path of one layer, beside zero and mean
ablation.
"""

from pathlib import Path

from matplotlib.figure import Figure

from figures.style import COLOURS, error_bars, note_n
from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_json

WAYS = (("sae", "SAE"), ("mean", "mean ablation"), ("zero", "zero ablation"))
PANELS = (
    ("difference", "mean absolute change of step scores"),
    ("spearman", "Spearman to the original scores"),
)


def find(settings: Settings) -> list[Path]:
    """Return the results of sae-quality, one of each run and source. Raises: MissingInput."""
    found = sorted(
        path.parent / "quality.json"
        for path in settings.data_dir.glob("sae-quality/*/*/manifest.json")
    )
    if not found:
        raise MissingInput("no rewards with SAEs in the path; run invoke sae-quality")
    return found


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each run and source, a panel for each measure, a point and its interval for
    each way and layer.
    """
    figure = Figure(figsize=(7.0, 2.6 * len(paths)))
    for row, path in zip(
        figure.subplots(len(paths), len(PANELS), squeeze=False), paths, strict=True
    ):
        rewards = [layer["reward"] for layer in read_json(path)]
        for axes, (measure, label) in zip(row, PANELS, strict=True):
            for index, (way, name) in enumerate(WAYS):
                for reward in rewards:
                    estimate = reward[way][measure]
                    axes.errorbar(
                        reward["layer"] + 0.15 * (index - 1),
                        estimate["value"],
                        yerr=error_bars(estimate["value"], estimate["low"], estimate["high"]),
                        fmt="o",
                        markersize=3.5,
                        color=COLOURS[index],
                        label=name if reward is rewards[0] else None,
                    )
            axes.set(xlabel="layer", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        row[0].set_title(
            f"{path.parents[1].name}, {path.parent.name}", fontsize="small", loc="left"
        )
        row[0].legend(fontsize="x-small")
        note_n(row[1], f"{rewards[0]['n_steps']} steps of {rewards[0]['n_problems']} problems")
    return figure
