"""From which layer the reward, and the answer's correctness, can be read by a linear probe, and
what its best control reads.
"""

from pathlib import Path

from matplotlib.figure import Figure

from figures.style import GREY, colour_of, note_n, whole_results
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_csv

PANELS = {
    "reward": ("r2", "R² on held-out problems", 0.0),
    "correct": ("auroc", "AUROC on held-out problems", 0.5),
}


def find(settings: Settings) -> list[Path]:
    """Return the probe tables of every save-acts folder. Raises: MissingInput."""
    return whole_results(
        settings.data_dir,
        "math-*/linreg/*/results.csv",
        missing="no probe results; run invoke train-linreg",
    )


def draw(paths: list[Path]) -> Figure:
    """Draw a panel for each target, a line for each data set."""
    targets = [target for target in PANELS if any(path.parent.name == target for path in paths)]
    names = [_name(path) for path in paths]
    figure = Figure(figsize=(3.6 * len(targets), 2.9))
    for axes, target in zip(
        figure.subplots(1, len(targets), squeeze=False)[0], targets, strict=True
    ):
        metric, label, chance = PANELS[target]
        axes.axhline(chance, color=GREY, linewidth=0.8, linestyle=":")
        for path in (p for p in paths if p.parent.name == target):
            table, colour = read_csv(path), colour_of(_name(path), names)
            rows = [row for row in table if row["probe"] == "states"]
            layers = [int(row["layer"]) for row in rows]
            axes.plot(
                layers,
                [float(row[metric]) for row in rows],
                color=colour,
                marker="o",
                markersize=3,
                label=_name(path),
            )
            axes.fill_between(
                layers,
                [float(row["low"]) for row in rows],
                [float(row["high"]) for row in rows],
                color=colour,
                alpha=0.18,
                linewidth=0,
            )
            best = [float(row[metric]) - float(row["margin"]) for row in rows]
            axes.plot(
                layers,
                best,
                color=colour,
                linewidth=0.9,
                linestyle="--",
                label=f"{_name(path)}, best control",
            )
        axes.set(title=f"target: {target}", xlabel="layer", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        note_n(axes, f"{rows[0]['n_test_problems']} test problems; 95 % over problems")
        axes.legend(loc="best", fontsize=7)
    return figure


def _name(path: Path) -> str:
    return path.parents[2].name.removeprefix("math-rm-")
