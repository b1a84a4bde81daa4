"""What is left of the PRM's rewards with an SAE in the path of one layer, beside zero and mean
ablation.
"""

from pathlib import Path

from matplotlib.figure import Figure

from figures.names import labels
from figures.reports import SaeQuality
from figures.style import COLOURS, canvas, draw_point, drawn, finish, whole_number_axis
from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_json_as

QUESTION = "What is left of the PRM's rewards behind an SAE?"
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
    figure, axes = canvas(QUESTION, rows=len(paths), columns=len(PANELS), width=3.2, height=2.5)
    names = labels(paths[0].parents[3], dict.fromkeys(path.parent.name for path in paths))
    for row, path in zip(axes, paths, strict=True):
        rewards = [layer.reward for layer in read_json_as(path, list[SaeQuality])]
        for panel, (measure, label) in zip(row, PANELS, strict=True):
            for index, (way, name) in enumerate(WAYS):
                for reward in rewards:
                    draw_point(
                        panel,
                        reward.layer + 0.15 * (index - 1),
                        drawn(getattr(getattr(reward, way), measure)),
                        colour=COLOURS[index],
                        label=name,
                    )
            panel.set(xlabel="layer", ylabel=label)
            whole_number_axis(panel.xaxis)
        counts = f"{rewards[0].n_steps} steps of {rewards[0].n_problems} problems"
        row[0].set_title(f"{path.parents[1].name}, {names[path.parent.name]}: {counts}", loc="left")
    return finish(figure, "95 % over problems")
