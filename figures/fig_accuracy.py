"""Whether the PRM helps: each policy alone, by majority vote, and in beam search guided by the PRM;
a panel per data set.
"""

from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from figures.style import COLOURS, error_bars, note_n
from rewardscope.errors import MissingInput
from rewardscope.paths import SEARCH_SUFFIXES
from rewardscope.settings import Settings
from rewardscope.storage.jsonl import read_rows
from rewardscope.storage.tables import read_json


class Bar(NamedTuple):
    """One accuracy with its interval."""

    dataset: str
    policy: str
    method: str
    estimate: dict


METHODS = ("alone", "majority vote", "beam search with PRM")


def find(settings: Settings) -> list[Path]:
    """Return the metrics of every generations file. Raises: MissingInput."""
    found = sorted(settings.data_dir.glob("*.metrics.json"))
    if not found:
        raise MissingInput("no metrics; run invoke metrics")
    return found


def read_bars(path: Path) -> list[Bar]:
    """Return the bars of one metrics file; the generations beside it name the data set."""
    stem = path.name.removesuffix(".metrics.json")
    dataset = next(iter(read_rows(path.with_name(f"{stem}.jsonl"))))["problem"]["dataset"]
    policy = stem.removesuffix(SEARCH_SUFFIXES["beam"]).removesuffix(f"_{dataset}")
    report = read_json(path)
    metrics, n = report["metrics"], report["traces_per_problem"][0]
    if stem.endswith(SEARCH_SUFFIXES["beam"]):
        return [Bar(dataset, policy, METHODS[2], metrics["accuracy"])]
    alone = [Bar(dataset, policy, METHODS[0], metrics["mean_accuracy"])]
    return [*alone, Bar(dataset, policy, METHODS[1], metrics[f"majority@{n}"])] if n > 1 else alone


def draw(paths: list[Path]) -> Figure:
    """Draw a group of bars for each policy."""
    bars = [bar for path in paths for bar in read_bars(path)]
    datasets = sorted({bar.dataset for bar in bars})
    widest = max(
        len({bar.policy for bar in bars if bar.dataset == dataset}) for dataset in datasets
    )
    figure = Figure(figsize=((1.2 + 1.6 * widest) * len(datasets), 3.1))
    for axes, dataset in zip(
        figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0], datasets, strict=True
    ):
        here = [bar for bar in bars if bar.dataset == dataset]
        policies = sorted({bar.policy for bar in here})
        for bar in here:
            place = policies.index(bar.policy) + 0.26 * (METHODS.index(bar.method) - 1)
            e = bar.estimate
            errors = error_bars(e["value"], e["low"], e["high"])
            axes.bar(
                place,
                e["value"],
                width=0.24,
                color=COLOURS[METHODS.index(bar.method)],
                yerr=errors,
                error_kw={"elinewidth": 0.9},
            )
            axes.annotate(
                f"{e['value']:.2f}",
                (place, e["high"]),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
        axes.set_xticks(range(len(policies)), policies)
        axes.set(title=dataset, ylim=(0, 1.05))
        axes.grid(axis="x", visible=False)
        note_n(axes, f"{here[0].estimate['n']} problems, 95 % intervals")
    figure.axes[0].set_ylabel("accuracy")
    handles = [
        figure.axes[0].bar(0, 0, color=COLOURS[index], label=method)
        for index, method in enumerate(METHODS)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8)
    return figure
