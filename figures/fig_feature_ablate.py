"""What becomes of a PRM's scores without features of an SAE, beside random features that are like
them.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, GREY, Drawn, canvas, draw_point, drawn, finish, whole_results
from rewardscope.features.ablation_table import AblationRow
from rewardscope.settings import Settings
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import read_csv_as

QUESTION = "Do these features cause the reward, more than others like them?"
MEASURES = {
    "score": "mean step score",
    "auroc": "AUROC of right steps",
    "false_positive": "right steps taken for wrong",
    "false_negative": "wrong steps taken for right",
    "choice": "right choices among traces",
}
KINDS = {
    "feature": "one feature",
    "set": "all chosen features",
    "category": "those of a category",
    "baseline": "their twins in the baseline",
}
EVERYTHING = "all features ablated"
CONTROLS = "random features alike, 95 %"


def find(settings: Settings) -> list[Path]:
    """Return the tables of feature-ablate. Raises: MissingInput."""
    return whole_results(
        settings.data_dir,
        "feature-ablate/*/*/results.csv",
        missing="no features ablated; run invoke feature-ablate",
    )


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each result, a panel for each measure, a point with its interval for each set
    of features, and in its column a band for its controls.
    """
    figure, axes = canvas(QUESTION, rows=len(paths), columns=len(MEASURES), width=2.9, height=2.9)
    counts = []
    for line, path in zip(axes, paths, strict=True):
        rows, extra = read_csv_as(path, AblationRow), read_finished(path.parent).extra
        for panel, (measure, label) in zip(line, MEASURES.items(), strict=True):
            chosen = [row for row in rows if row.measure == measure]
            _draw_sets(panel, [row for row in chosen if row.kind in KINDS])
            panel.set_title(f"{label}\n{_told(chosen)}", loc="left", fontsize=8)
        source = path.parent.name
        line[0].set_ylabel(
            f"{path.parents[1].name}, layer {rows[0].layer},\n{source}, {rows[0].edit}\nchange"
        )
        counts.append(
            f"{source}: {extra.get('solutions', '?')} solutions of {rows[0].n_problems} problems"
        )
    return finish(
        figure,
        "points: change with 95 % over problems; bands: changes by random features matched in"
        f" firing rate, decoder norm and category; {'; '.join(counts)}",
    )


def _told(rows: Sequence[AblationRow]) -> str:
    """Say what the measure is as it is, and without all features of the SAE."""
    everything = [row for row in rows if row.name == EVERYTHING]
    if not everything:
        return "no labels for it"
    before, change = everything[0].original, everything[0].change
    return f"as it is {before:.2f}, without any feature {before + change:.2f}"


def _draw_sets(panel: Axes, rows: Sequence[AblationRow]) -> None:
    panel.axhline(0, color=GREY, linewidth=0.8)
    order = sorted(rows, key=lambda row: list(KINDS).index(row.kind))
    for place, row in enumerate(order):
        _draw_controls(panel, place, row)
        colour = COLOURS[list(KINDS).index(row.kind)]
        draw_point(panel, place, drawn(row, value="change"), colour=colour, label=KINDS[row.kind])
    labels = [_label(row) for row in order]
    panel.set_xticks(range(len(order)), labels, rotation=60, ha="right")
    panel.grid(axis="x", visible=False)


def _draw_controls(panel: Axes, place: int, row: AblationRow) -> None:
    band = drawn(row, value="control", low="control_low", high="control_high")
    if math.isnan(band.low):
        return
    _band(panel, place, band)


def _band(panel: Axes, place: int, band: Drawn) -> None:
    panel.fill_between(
        [place - 0.35, place + 0.35],
        band.low,
        band.high,
        color=GREY,
        alpha=0.3,
        linewidth=0,
        label=CONTROLS,
    )


def _label(row: AblationRow) -> str:
    name = "baseline" if row.kind == "baseline" else row.name
    return name if row.kind == "feature" else f"{name} ({row.n_features})"
