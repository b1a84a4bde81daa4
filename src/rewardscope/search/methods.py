"""The search methods: what tells one from another, and the registry that everything else reads.

A new method is a line in `METHODS`: the flag, the file names, the figures and the comparison at
equal compute follow. Nothing heavy is imported here, so that stages can name the methods.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rewardscope.errors import UnknownName
from rewardscope.records import Manifest
from rewardscope.storage.manifests import read_manifest


def _roots(n: int, width: int) -> int:
    return n // width


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMethod:
    """A way to choose which beams live on.

    A search starts with n / width roots and continues each beam `width` times a round.
    """

    name: str
    """The value of `--search`."""
    suffix: str
    """What the name of a generations file ends in."""
    title: str
    """The name in figures."""
    summary: str
    """What lives on, for the help of `--search`."""
    keep: Callable[[int, int], int] = _roots
    """(n, width) -> how many of the beams that compete with one another live on."""
    roots_apart: bool = False
    """Whether the beams of one root compete among themselves alone."""
    stepwise: bool = True
    """Whether there is more than one round. Where there is not, traces are independent samples."""


METHODS = {
    method.name: method
    for method in (
        SearchMethod(
            name="beam",
            suffix="_beam_search_prm",
            title="beam search",
            summary="the best n / width of all live on",
        ),
        SearchMethod(
            name="dvts",
            suffix="_dvts_prm",
            title="DVTS",
            summary="the best one of each root's own lives on",
            keep=lambda n, width: 1,
            roots_apart=True,
        ),
        SearchMethod(
            name="best-of-n",
            suffix="_best_of_n_prm",
            title="best of n",
            summary="n whole solutions, the best is taken",
            stepwise=False,
        ),
    )
}


def find_method(name: str) -> SearchMethod:
    """Raises: UnknownName."""
    if name not in METHODS:
        raise UnknownName("value of --search", name, METHODS)
    return METHODS[name]


def made_by(generations: Path) -> str:
    """Return the search that made a generations file, or else "greedy" or "samples".

    By its manifest; where that names no search, by its name.
    """
    manifest = read_manifest(generations) or Manifest()
    named = (name for name, each in METHODS.items() if generations.stem.endswith(each.suffix))
    greedy = manifest.extra.get("temperature") == 0
    return manifest.settings.get("search") or next(named, "greedy" if greedy else "samples")


def are_independent(generations: Path) -> bool:
    """Say whether the traces of a file were drawn one by one, so that some of them can stand for
    fewer samples.
    """
    method = METHODS.get(made_by(generations))
    return method is None or not method.stepwise
