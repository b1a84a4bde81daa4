"""From which layer the reward, and the answer's correctness, can be read by a linear probe, and
what its best control reads.
"""

from pathlib import Path

from matplotlib.figure import Figure

from figures.names import datasets, labels
from figures.style import (
    GREY,
    canvas,
    colour_of,
    draw_line,
    drawn,
    finish,
    whole_number_axis,
    whole_results,
)
from rewardscope.records import ProbeResult
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_csv_as

QUESTION = "From which layer can a linear probe read the reward, and the correctness?"
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
    """Draw a panel for each target, a line for each policy and one for its best control."""
    targets = [target for target in PANELS if any(path.parent.name == target for path in paths)]
    data_dir = paths[0].parents[3]
    names = labels(data_dir, dict.fromkeys(path.parents[2].name for path in paths))
    counts = set()
    figure, axes = canvas(QUESTION, rows=1, columns=len(targets), width=3.2, height=2.7)
    for panel, target in zip(axes[0], targets, strict=True):
        metric, axis_label, chance = PANELS[target]
        panel.axhline(chance, color=GREY, linewidth=0.8, linestyle=":")
        for path in (p for p in paths if p.parent.name == target):
            rows = [row for row in read_csv_as(path, ProbeResult) if row.probe == "states"]
            layers = [row.layer for row in rows if row.layer is not None]
            name = names[path.parents[2].name]
            colour = colour_of(name, names.values())
            values = [drawn(row, value=metric) for row in rows]
            draw_line(panel, layers, values, colour=colour, label=name)
            margins = [drawn(row, value="margin", low="margin", high="margin") for row in rows]
            best = [v.value - margin.value for v, margin in zip(values, margins, strict=True)]
            panel.plot(
                layers,
                best,
                color=colour,
                linewidth=0.9,
                linestyle="--",
                label=f"{name}, best control",
            )
            counts |= {row.n_test_problems for row in rows}
        panel.set(title=f"target: {target}", xlabel="layer", ylabel=axis_label)
        whole_number_axis(panel.xaxis)
    n = " to ".join(map(str, sorted({min(counts), max(counts)})))
    return finish(
        figure,
        f"{datasets(data_dir, names)}{n} test problems; 95 % over problems; dotted: a probe that"
        " knows nothing",
    )
