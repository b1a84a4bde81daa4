"""Which features fire more on reasoning data, and what they fire on: the paper's claim is about
formatting tokens.
"""

from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

from figures.style import COLOURS, GREY, error_bars, note_n
from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.statistics.intervals import wilson
from rewardscope.storage.tables import read_csv

FAVOURS = {"reasoning": COLOURS[1], "instruct": COLOURS[0], "neither": "#cccccc"}


def find(settings: Settings) -> list[Path]:
    """Return the finished tables of feature-diff. Raises: MissingInput."""
    tables = sorted(settings.data_dir.glob("features/*/diff/part_*.csv"))
    found = [path for path in tables if path.with_name(f"{path.name}.manifest.json").is_file()]
    if not found:
        raise MissingInput("no compared features; run invoke feature-diff")
    return found


def draw(paths: list[Path]) -> Figure:
    """Draw firing rates on both sides, and by layer the share of reasoning features that fire on
    formatting.
    """
    rows = [row for path in paths for row in read_csv(path)]
    figure = Figure(figsize=(7.2, 3.1))
    left, right = figure.subplots(1, 2)
    for name in ("neither", "instruct", "reasoning"):
        here = [row for row in rows if row["favours"] == name]
        x, y = (
            [float(row["rate_instruct"]) for row in here],
            [float(row["rate_reasoning"]) for row in here],
        )
        left.scatter(
            x, y, s=5, color=FAVOURS[name], label=f"{name} ({len(here)})", linewidths=0, alpha=0.7
        )
    top = max(float(row[side]) for row in rows for side in ("rate_instruct", "rate_reasoning"))
    left.plot([0, top], [0, top], color=GREY, linewidth=0.8, linestyle=":")
    left.set(
        title="firing rate of each feature", xlabel="on instruct data", ylabel="on reasoning data"
    )
    left.set_xscale("symlog", linthresh=1e-3)
    left.set_yscale("symlog", linthresh=1e-3)
    left.legend(title="favours", fontsize=7, title_fontsize=7, loc="upper left")
    note_n(left, f"{len(rows)} features; false discovery rate controlled within a layer")
    by_layer: dict[int, list[bool]] = defaultdict(list)
    for row in rows:
        if row["favours"] == "reasoning":
            by_layer[int(row["layer"])].append(float(row["share_formatting"]) > 0.5)
    for layer, formatting in sorted(by_layer.items()):
        share = wilson(sum(formatting), len(formatting))
        right.bar(
            layer,
            share.value,
            color=COLOURS[1],
            yerr=error_bars(share.value, share.low, share.high),
            error_kw={"elinewidth": 0.9},
        )
        right.annotate(
            f"{len(formatting)}",
            (layer, share.high),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7,
        )
    right.set(
        title="reasoning features on formatting",
        xlabel="layer",
        ylabel="share of reasoning features",
        ylim=(0, 1),
    )
    right.xaxis.get_major_locator().set_params(integer=True)
    note_n(right, "most activation on whitespace, punctuation, Unicode; above: n; 95 %")
    return figure
