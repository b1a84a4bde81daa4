"""What a series is called: the policy that made its traces, and how, not the name of a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rewardscope.paths import slug
from rewardscope.records import Manifest
from rewardscope.search.methods import METHODS, made_by
from rewardscope.storage.jsonl import read_rows
from rewardscope.storage.manifests import read_manifest

SEARCHES = {method.name: method.title for method in METHODS.values()}


class Made(NamedTuple):
    """Where a generations file is from."""

    policy: str
    dataset: str
    """Empty where it is not known."""
    by: str
    """"greedy", "samples", or the name of the search."""


def made(data_dir: Path, name: str) -> Made:
    """Return what the generations `<name>.jsonl` of a data folder are from.

    By their manifest; without one, by their first row and the name.
    """
    path = data_dir / f"{name}.jsonl"
    inputs, by = (read_manifest(path) or Manifest()).inputs, made_by(path)
    if "policy" in inputs and "dataset" in inputs:
        return Made(slug(inputs["policy"].source), slug(inputs["dataset"].source), by)
    stem = name.removesuffix(METHODS[by].suffix) if by in METHODS else name
    row = next(iter(read_rows(path)), None) if path.is_file() else None
    dataset = slug(row["problem"]["dataset"]) if row else ""
    return Made(stem.removesuffix(f"_{dataset}") if dataset else stem, dataset, by)


def measured(metrics: Path) -> Made:
    """Return what the generations that a metrics file measures are from.

    They are named in its manifest, whatever `--name` the metrics have.
    """
    inputs = (read_manifest(metrics) or Manifest()).inputs
    if "generations" not in inputs:
        return made(metrics.parent, metrics.name.removesuffix(".metrics.json"))
    source = Path(inputs["generations"].source)
    folder = source.parent if source.is_file() else metrics.parent
    return made(folder, source.name.removesuffix(".jsonl"))


def labels(data_dir: Path, names: Iterable[str]) -> dict[str, str]:
    """Return a label for each name of generations, or of a save-acts folder of them.

    The policy, with the search where there was one; with the data set where they have several.
    Names that would get one label keep themselves.
    """
    found = {name: made(data_dir, _generations(name)) for name in names}
    one_dataset = len({each.dataset for each in found.values()}) == 1
    wanted = {name: _label(name, each, one_dataset) for name, each in found.items()}
    taken = list(wanted.values())
    return {
        name: label if taken.count(label) == 1 else _generations(name)
        for name, label in wanted.items()
    }


def datasets(data_dir: Path, names: Iterable[str]) -> str:
    """Return the data sets of generations for a note, or nothing where none is known."""
    found = {made(data_dir, _generations(name)).dataset for name in names} - {""}
    return f"data: {', '.join(sorted(found))}; " if found else ""


def _generations(name: str) -> str:
    return name.removeprefix("math-rm-").removeprefix("math-lm-")


def _label(name: str, each: Made, one_dataset: bool) -> str:
    label = each.policy if one_dataset or not each.dataset else f"{each.policy} on {each.dataset}"
    label += f", {SEARCHES[each.by]}" if each.by in SEARCHES else ""
    return f"{label}, own states" if name.startswith("math-lm-") else label
