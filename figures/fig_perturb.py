"""How far a PRM's scores move when a right solution is only written another way, and when it is
broken.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, GREY, canvas, draw_point, drawn, finish, whole_results
from rewardscope.settings import Settings
from rewardscope.stages.perturb_tables import RuleChange, RuleSeparation
from rewardscope.storage.tables import read_csv_as

QUESTION = "Do the PRM's scores move where a solution is broken, and only there?"
KINDS = {"preserving": "leaves it right", "changing": "breaks it"}
READINGS = {"at": "the edited step", "min": "the least step", "final": "the last step"}


def find(settings: Settings) -> list[Path]:
    """Return the tables of perturb. Raises: MissingInput."""
    return whole_results(
        settings.data_dir, "perturb/*/*/rules.csv", missing="no edits; run invoke perturb"
    )


def draw(paths: list[Path]) -> Figure:
    """Draw a row for each result and data set, a panel for each reading of the scores, a point with
    its interval for each rule.
    """
    rows = [
        (path, dataset, [row for row in table if row.dataset == dataset])
        for path in paths
        for table in [read_csv_as(path, RuleChange)]
        for dataset in dict.fromkeys(row.dataset for row in table)
    ]
    figure, axes = canvas(
        QUESTION, rows=len(rows), columns=len(READINGS), width=3.6, height=3.0, sharey=True
    )
    for line, (path, dataset, changes) in zip(axes, rows, strict=True):
        apart = read_csv_as(path.with_name("separation.csv"), RuleSeparation)
        for panel, (reading, label) in zip(line, READINGS.items(), strict=True):
            chosen = [row for row in changes if row.reading == reading]
            found = [
                row
                for row in apart
                if (row.dataset, row.reading, row.changing) == (dataset, reading, "all")
            ]
            _draw_rules(panel, chosen)
            auroc = found[0].auroc if found else None
            told = "" if auroc is None else f", AUROC of the kinds {auroc:.2f}"
            panel.set_title(f"{label}{told}", loc="left")
        n_problems = max(row.n_problems for row in changes)
        line[0].set_ylabel(f"{path.parents[1].name}, {dataset}\nchange of score")
        line[0].set_title(f"{line[0].get_title(loc='left')}, {n_problems} problems", loc="left")
    return finish(
        figure,
        "mean of edited less right solution, 95 % over problems; AUROC: whether the size of a"
        " change tells the two kinds of edits apart",
    )


def _draw_rules(panel: Axes, rows: list[RuleChange]) -> None:
    panel.axhline(0, color=GREY, linewidth=0.8)
    for place, row in enumerate(rows):
        colour = COLOURS[list(KINDS).index(row.kind)]
        change = drawn(row, value="change")
        draw_point(panel, place, change, colour=colour, label=KINDS[row.kind])
    panel.set_xticks(range(len(rows)), [row.rule for row in rows], rotation=60, ha="right")
    panel.grid(axis="x", visible=False)
