"""How the PRM's step score runs along a trace, right and wrong answers apart; a panel a policy."""

from pathlib import Path

from matplotlib.figure import Figure

from figures.fig_reward_patterns import find, name_of, names_of
from figures.names import datasets
from figures.reports import PatternsReport
from figures.style import COLOURS, canvas, draw_line, drawn, finish
from rewardscope.records import PatternBin
from rewardscope.storage.tables import read_csv_as, read_json_as

__all__ = ["draw", "find"]

QUESTION = "How do the PRM's step scores run along a trace?"
ANSWERS = {"right": ("right answer", COLOURS[2]), "wrong": ("wrong answer", COLOURS[1])}


def draw(paths: list[Path]) -> Figure:
    """Draw a panel for each policy of each result."""
    panels = []
    for path in paths:
        rows = read_csv_as(path, PatternBin)
        counts = read_json_as(path.with_name("report.json"), PatternsReport).counts
        names = names_of(path, counts)
        panels += [(name_of(count, names), count, rows) for count in counts]
    figure, axes = canvas(QUESTION, rows=1, columns=len(panels), width=2.9, height=2.6, sharey=True)
    bounded = all(0 <= row.mean <= 1 for _, _, rows in panels for row in rows)
    for panel, (name, count, rows) in zip(axes[0], panels, strict=True):
        for answer, (label, colour) in ANSWERS.items():
            here = [
                row
                for row in rows
                if (row.by, row.answer) == ("position", answer)
                and (row.policy, row.window) == (count.policy, count.window)
            ]
            centres = [(row.start + row.end) / 2 for row in here]
            values = [drawn(row, value="mean") for row in here]
            draw_line(panel, centres, values, colour=colour, label=label)
        panel.set_title(f"{name}\n{count.right} right traces, {count.wrong} wrong")
        panel.set(xlabel="relative position in the trace", xlim=(0, 1))
        panel.set_ylim((0, 1.02) if bounded else None)
    axes[0, 0].set_ylabel("PRM step score")
    policies = [count.policy for _, count, _ in panels]
    return finish(figure, f"{datasets(paths[0].parents[2], policies)}mean and 95 % over problems")
