"""Whether guidance by the PRM finds more right answers: each policy greedy, by samples and their
vote, and in each search; a panel per data set.
"""

from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from figures.names import SEARCHES, measured
from figures.reports import MetricsReport
from figures.style import COLOURS, Drawn, canvas, draw_bar, drawn, finish, write_above
from rewardscope.errors import MissingInput
from rewardscope.records import Estimate
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_json_as

QUESTION = "Does guidance by the PRM find more right answers?"
METHODS = (
    "greedy",
    "mean of the samples",
    "majority of the samples",
    *(f"{name}, PRM" for name in SEARCHES.values()),
)


class Bar(NamedTuple):
    """One accuracy with its interval."""

    dataset: str
    policy: str
    method: str
    estimate: Drawn
    n: int


def find(settings: Settings) -> list[Path]:
    """Return the metrics of every generations file. Raises: MissingInput."""
    found = sorted(settings.data_dir.glob("*.metrics.json"))
    if not found:
        raise MissingInput("no metrics; run invoke metrics")
    return found


def read_bars(path: Path) -> list[Bar]:
    """Return the bars of one metrics file; the generations beside it name policy and data set."""
    source = measured(path)
    report = read_json_as(path, MetricsReport)
    metrics, most = report.metrics, report.traces_per_problem[0]

    def bar(method: str, found: Estimate) -> Bar:
        return Bar(source.dataset, source.policy, method, drawn(found), found.n)

    if source.by in SEARCHES:
        return [bar(f"{SEARCHES[source.by]}, PRM", metrics["accuracy"])]
    if source.by == "greedy":
        return [bar("greedy", metrics["accuracy"])]
    mean = bar("mean of the samples", metrics["mean_accuracy"])
    vote = metrics.get(f"majority@{most}") if most > 1 else None
    return [mean, bar("majority of the samples", vote)] if vote else [mean]


def draw(paths: list[Path]) -> Figure:
    """Draw a group of bars for each policy."""
    bars = [bar for path in paths for bar in read_bars(path)]
    shown = [method for method in METHODS if any(bar.method == method for bar in bars)]
    by_dataset = {
        name: [bar for bar in bars if bar.dataset == name]
        for name in sorted({bar.dataset for bar in bars})
    }
    widest = max(len({bar.policy for bar in here}) for here in by_dataset.values())
    figure, axes = canvas(
        QUESTION,
        rows=1,
        columns=len(by_dataset),
        width=max(2.5, 0.45 * len(shown) * widest),
        height=2.9,
        sharey=True,
    )
    width = 0.85 / len(shown)
    for panel, (dataset, here) in zip(axes[0], by_dataset.items(), strict=True):
        policies = sorted({bar.policy for bar in here})
        for bar in here:
            place = shown.index(bar.method)
            x = policies.index(bar.policy) + (place - (len(shown) - 1) / 2) * width
            colour = COLOURS[METHODS.index(bar.method) % len(COLOURS)]
            draw_bar(panel, x, bar.estimate, width=0.92 * width, colour=colour, label=bar.method)
            write_above(panel, x, bar.estimate, f"{bar.estimate.value:.2f}")
        panel.set_xticks(range(len(policies)), policies)
        panel.set(title=f"{dataset}, {_counts(here)} problems", ylim=(0, 1.05))
        panel.grid(axis="x", visible=False)
    axes[0, 0].set_ylabel("accuracy")
    order = {
        handle.get_label(): handle
        for panel in axes[0]
        for handle in panel.containers
        if not handle.get_label().startswith("_")
    }
    return finish(
        figure,
        "bars: share of problems that are answered right, 95 % over problems",
        handles=[order[method] for method in shown],
    )


def _counts(bars: list[Bar]) -> str:
    counts = {bar.n for bar in bars}
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
