"""The trace viewer of `dash`: which sources it reads, and which problems it shows."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rewardscope.errors import MissingInput
from rewardscope.log import get_logger
from rewardscope.paths import slug
from rewardscope.search.methods import are_independent, made_by
from rewardscope.stage import find_required
from rewardscope.storage.jsonl import iter_solved
from rewardscope.storage.manifests import read_manifest

if TYPE_CHECKING:
    from rewardscope.dashboard.trace_data import Source
    from rewardscope.dashboard.trace_firings import TraceFirings
    from rewardscope.features.firing import DataSet


class TraceViewer(NamedTuple):
    """What the page of traces shows."""

    meta: dict[str, Any]
    pieces: list[dict[str, Any]]
    sequences: list[list[tuple[int, int]]]
    """For each piece the data sets and sequences whose firings it can show."""

    def firings(self) -> "TraceFirings":
        """Return an empty table for the firings of these sequences."""
        from rewardscope.dashboard.trace_firings import TraceFirings

        wanted: dict[int, list[int]] = {}
        for number, line in (key for keys in self.sequences for key in keys):
            wanted.setdefault(number, []).append(line)
        return TraceFirings(wanted)


def read_traces(data_sets: "list[DataSet]", files: list[Path], *, n: int) -> TraceViewer | None:
    """Read the traces of `n` problems from folders of save-acts and from generations files.

    The folders come first, and their features can be shown. None without traces.
    """
    from rewardscope.dashboard.compare_data import compared
    from rewardscope.dashboard.trace_data import Source, Traces, choose_problems

    if n == 0:
        return None
    sources = [
        Source(data.name, _solutions_of(data), data.store.info.prm, number)
        for number, data in enumerate(data_sets)
    ]
    names: list[Iterable[str]] = [data.store.problems for data in data_sets]
    for file in files:
        search = None if are_independent(file) else made_by(file)
        sources.append(Source(slug(file), slug(file), _prm_of(file), search=search))
        names.append([solved.problem.id for solved in iter_solved(file)])
    traces = Traces(choose_problems(names, n))
    for number, data in enumerate(data_sets):
        traces.add_states(number, sources[number], data)
    for number, file in enumerate(files, start=len(data_sets)):
        for solved in iter_solved(file):
            traces.add_solved(number, sources[number], solved)
    pieces = list(traces.pieces())
    if not any(one.traces for one in traces.problems.values()):
        return None
    total = len({name for of_source in names for name in of_source})
    if total > n:
        get_logger().info(f"dash: the trace viewer shows {n} of {total} problems; --problems N")
    meta = _meta(traces.listed(), sources, data_sets, total)
    meta |= compared(list(traces.problems.values()))
    return TraceViewer(meta, pieces, _keys(pieces))


def _meta(
    problems: list[dict[str, Any]], sources: "list[Source]", data_sets: "list[DataSet]", total: int
) -> dict[str, Any]:
    from rewardscope.dashboard.trace_data import PIECE

    return {
        "problems": problems,
        "n_problems": total,
        "piece": PIECE,
        "sources": [
            {
                "name": one.name,
                "prm": one.prm and slug(one.prm),
                "data_set": one.data_set,
                "search": one.search,
            }
            for one in sources
        ],
        "data_sets": [{"name": data.name} for data in data_sets],
    }


def _keys(pieces: list[dict[str, Any]]) -> list[list[tuple[int, int]]]:
    return [
        [tuple(t["acts"]) for p in values["problems"] for t in p["traces"] if "acts" in t]
        for values in pieces
    ]


def _solutions_of(data: "DataSet") -> str:
    """Return the name of the generations file that states were made from."""
    made_from = data.store.info.generations
    return slug(made_from) if made_from else data.name


def _prm_of(file: Path) -> str | None:
    """Return the PRM whose scores a generations file holds, as far as its manifest says."""
    manifest = read_manifest(file)
    return None if manifest is None else manifest.settings.get("prm")


def find_files(names: tuple[str, ...], data_dir: Path) -> list[Path]:
    """Return the generations files of --traces. Raises: MissingInput."""
    found = []
    for name in names:
        path = find_required(name, data_dir, "infer", suffix=".jsonl")
        if not path.is_file():
            raise MissingInput(
                f"--traces {name}: {path} is a folder; name a generations file there, and folders"
                " of save-acts with --ds-names"
            )
        found.append(path)
    return found
