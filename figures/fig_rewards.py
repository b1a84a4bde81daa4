"""How the PRM's step score runs along a trace: right and wrong answers apart, a panel per data set
of traces.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, note_n
from rewardscope.errors import MissingInput
from rewardscope.records import Estimate
from rewardscope.settings import Settings
from rewardscope.statistics.intervals import bootstrap
from rewardscope.storage.jsonl import read_rows

BINS = 8
ANSWERS = {True: ("right answer", COLOURS[2]), False: ("wrong answer", COLOURS[1])}


def find(settings: Settings) -> list[Path]:
    """Return the scored sequences of every save-acts folder. Raises: MissingInput."""
    found = [
        path / "sequences.jsonl"
        for path in sorted(settings.data_dir.glob("math-rm-*"))
        if (path / "manifest.json").is_file()
    ]
    if not found:
        raise MissingInput("no scored traces; run invoke save-acts")
    return found


def binned_scores(path: Path, correct: bool) -> tuple[list[Estimate | None], int]:
    """Return the mean score in each bin of relative position, with intervals over problems, and the
    number of traces.
    """
    problems: dict[str, list[list[float]]] = {}
    n_traces = 0
    for row in read_rows(path):
        if row["correct"] is not correct or not row["scores"]:
            continue
        n_traces += 1
        bins = problems.setdefault(row["problem"], [[] for _ in range(BINS)])
        n_steps = len(row["scores"])
        for index, score in enumerate(row["scores"]):
            bins[min(BINS - 1, int((index + 0.5) / n_steps * BINS))].append(score)
    estimates: list[Estimate | None] = []
    for number in range(BINS):
        groups = [bins[number] for bins in problems.values() if bins[number]]
        enough = len(groups) >= 2
        estimates.append(
            bootstrap(groups, _pooled_mean, seed=0, n_resamples=400) if enough else None
        )
    return estimates, n_traces


def _pooled_mean(groups: list[list[float]]) -> float:
    return float(np.mean([score for group in groups for score in group]))


def draw(paths: list[Path]) -> Figure:
    """Draw a panel for each folder."""
    figure = Figure(figsize=(3.4 * len(paths), 2.8))
    panels = figure.subplots(1, len(paths), sharey=True, squeeze=False)[0]
    centres = (np.arange(BINS) + 0.5) / BINS
    for axes, path in zip(panels, paths, strict=True):
        counts = []
        for correct, (label, colour) in ANSWERS.items():
            estimates, n_traces = binned_scores(path, correct)
            counts.append(f"{n_traces} {label.split()[0]}")
            shown = [(x, e) for x, e in zip(centres, estimates, strict=True) if e is not None]
            if not shown:
                continue
            x = [position for position, _ in shown]
            axes.plot(
                x, [e.value for _, e in shown], color=colour, marker="o", markersize=3, label=label
            )
            axes.fill_between(
                x,
                [e.low for _, e in shown],
                [e.high for _, e in shown],
                color=colour,
                alpha=0.18,
                linewidth=0,
            )
        axes.set(
            title=path.parent.name.removeprefix("math-rm-"),
            xlabel="relative position in the trace",
            ylim=(0, 1.02),
            xlim=(0, 1),
        )
        note_n(axes, f"traces: {', '.join(counts)}; 95 % over problems")
    panels[0].set_ylabel("PRM step score")
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 0.08))
    return figure
