"""Whether search with the PRM is worth its operations: accuracy against operations a problem, for
greedy, votes over samples and the search; a panel per comparison.
"""

from pathlib import Path

from matplotlib.figure import Figure

from figures.names import SEARCHES, measured
from figures.reports import Budget, MetricsReport
from figures.style import COLOURS, GREY, canvas, draw_point, drawn, finish, log_x_axis
from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_json_as

QUESTION = "Is search with the PRM worth its operations?"
VOTES = {
    "majority": "majority of k samples",
    "weighted": "weighted vote of k, PRM",
    "best_of": "best of k, PRM",
}
GIGA = 1e9
METHODS = ("greedy", "samples", *VOTES.values(), *(f"{name}, PRM" for name in SEARCHES.values()))
_MARKERS = "D.osv*Xp"


def find(settings: Settings) -> list[Path]:
    """Return the metrics that compare methods at equal compute. Raises: MissingInput."""
    found = [
        path
        for path in sorted(settings.data_dir.glob("*.metrics.json"))
        if (compared := read_json_as(path, MetricsReport).equal_compute) and compared.by_budget
    ]
    if not found:
        raise MissingInput("no methods compared; run invoke metrics --dataset FILE --against FILES")
    return found


def draw(paths: list[Path]) -> Figure:
    """Draw a point for each budget of each method, and a line through those of one vote."""
    figure, axes = canvas(QUESTION, rows=1, columns=len(paths), width=3.4, height=2.9, sharey=True)
    for panel, path in zip(axes[0], paths, strict=True):
        found = read_json_as(path, MetricsReport).equal_compute
        assert found is not None, path
        for name in dict.fromkeys(_method(row) for row in found.by_budget):
            rows = [row for row in found.by_budget if _method(row) == name]
            places = [row.flops / GIGA for row in rows]
            estimates = [drawn(row.accuracy) for row in rows]
            colour, marker = _look(name)
            if len(rows) > 1:
                panel.plot(places, [e.value for e in estimates], color=colour, linewidth=0.9)
            for x, estimate in zip(places, estimates, strict=True):
                draw_point(panel, x, estimate, colour=colour, label=name, marker=marker)
        budget = found.budget_flops / GIGA
        panel.axvline(budget, color=GREY, linewidth=0.8, linestyle=":")
        source = measured(path)
        title = f"{source.policy} on {source.dataset}" if source.dataset else source.policy
        panel.set(title=f"{title}, {found.problems} problems", ylim=(0, 1.02))
        panel.set_xlabel("operations a problem, GFLOPs")
        every = [row.flops / GIGA for row in found.by_budget]
        log_x_axis(panel, min(every), max(every))
    axes[0, 0].set_ylabel("accuracy")
    by_name = {bars.get_label(): bars for panel in axes[0] for bars in reversed(panel.containers)}
    return finish(
        figure,
        "k = 1, 2, 4 ... from left to right; 95 % over problems; operations of the policy and,"
        " where it scores, of the PRM; dotted: what the search took",
        handles=[by_name[name] for name in METHODS if name in by_name],
    )


def _look(method: str) -> tuple[str, str]:
    place = METHODS.index(method)
    return COLOURS[place % len(COLOURS)], _MARKERS[place % len(_MARKERS)]


def _method(row: Budget) -> str:
    by = row.made_by
    if row.vote == "answer":
        return f"{SEARCHES[by]}, PRM" if by in SEARCHES else by
    return VOTES[row.vote]
