"""What SAEs of a reward model are worth at equal L0: trained ones beside frozen baselines."""

import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import (
    GREY,
    canvas,
    colour_of,
    draw_point,
    drawn,
    finish,
    log_x_axis,
    whole_results,
)
from rewardscope.records import SaeBenchRow
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_csv_as

QUESTION = "What is a trained SAE worth beside a frozen one of equal L0?"
FEATURES = 5  # of the settings with k features, that with this many, else with the most
STATES = "probe of states"
PANELS = {
    "sparse probe": "AUROC, right steps",
    "spurious correlation removal": "gain of balanced accuracy",
    "targeted perturbation": "fall of own AUROC less others'",
    "stable features": "share of features",
    "reward kept": "share of the rewards kept",
}
_TITLE = 30  # letters that fit above a panel
_APART = 1.05  # factor of L0 between kinds, so that no interval lies over another


def find(settings: Settings) -> list[Path]:
    """Return the tables of every result. Raises: MissingInput."""
    return whole_results(
        settings.data_dir,
        "sae-bench/*/measures.csv",
        missing="no benchmark of SAEs; run invoke sae-bench",
    )


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each result and layer, a panel for each measure, a point and its interval for
    each SAE at its L0, with a cross for its control.
    """
    lines = []
    for path in paths:
        rows = read_csv_as(path, SaeBenchRow)
        for layer in dict.fromkeys(row.layer for row in rows):
            lines.append((path.parent.name, layer, [row for row in rows if row.layer == layer]))
    measured = {row.measure for _, _, rows in lines for row in rows}
    shown = [measure for measure in PANELS if measure in measured]
    kinds = {row.kind for _, _, rows in lines for row in rows if row.l0 is not None}
    figure, axes = canvas(QUESTION, rows=len(lines), columns=len(shown), width=2.6, height=2.7)
    counts = []
    for panels, (name, layer, rows) in zip(axes, lines, strict=True):
        for panel, measure in zip(panels, shown, strict=True):
            _draw_panel(panel, measure, rows, kinds)
        n = max(row.n for row in rows if row.unit == "problems")
        counts.append(f"{name}, layer {layer}: {n} held-out problems")
    note = "95 % over problems (stable features: over features); cross: the control of the same SAE"
    dotted = "; dotted: a probe of the raw states" if "sparse probe" in shown else ""
    return finish(figure, f"{'; '.join(counts)}; {note}{dotted}")


def _draw_panel(panel: Axes, measure: str, rows: list[SaeBenchRow], kinds: set[str]) -> None:
    setting = _setting([row.setting for row in rows if row.measure == measure])
    chosen = [row for row in rows if (row.measure, row.setting) == (measure, setting)]
    title = f"{measure}\n{textwrap.fill(setting, _TITLE)}"
    panel.set(title=title.strip(), xlabel="L0", ylabel=PANELS[measure])
    if measure == "sparse probe":
        for row in rows:
            if row.measure == STATES:
                panel.axhline(row.value, color=GREY, linewidth=0.8, linestyle=":")
    l0s = []
    for place, kind in enumerate(sorted(kinds)):
        for row in chosen:
            if row.kind != kind or row.l0 is None:
                continue
            colour, x = colour_of(kind, kinds), row.l0 * _APART**place
            l0s.append(x)
            draw_point(panel, x, drawn(row), colour=colour, label=kind)
            if row.control is not None:
                label = f"{kind}, control"
                panel.plot([x], [row.control], "x", color=colour, markersize=4, label=label)
    if l0s:
        low, high = min(l0s) / 1.3, max(l0s) * 1.3
        log_x_axis(panel, low, high)
        panel.set_xlim(low, high)


def _setting(settings: list[str]) -> str:
    """Return the first setting with `FEATURES` features, else the first with the most."""
    if not settings:
        return ""
    distinct = list(dict.fromkeys(settings))
    counts = {each: int(each.rpartition(" k ")[2] or 0) for each in distinct if " k " in each}
    if not counts:
        return distinct[0]
    wanted = FEATURES if FEATURES in counts.values() else max(counts.values())
    return next(each for each, count in counts.items() if count == wanted)
