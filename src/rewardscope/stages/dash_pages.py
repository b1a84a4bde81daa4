"""The pages of `dash`: what each is made of, and which files it becomes."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardscope.dashboard import page
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.log import progress
from rewardscope.paths import slug
from rewardscope.sae.model.runs import SaeRun, read_quality
from rewardscope.stages.dash_direction import Direction, cosines
from rewardscope.stages.dash_neuronpedia import Export
from rewardscope.storage.files import write_text

if TYPE_CHECKING:
    import torch

    from rewardscope.dashboard.known import Tables
    from rewardscope.dashboard.layer_data import Layer
    from rewardscope.dashboard.trace_firings import TraceFirings
    from rewardscope.features.firing import DataSet
    from rewardscope.stages.dash_traces import TraceViewer


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the layers' pages show, and where they are written."""

    sae: SaeRun
    layers: tuple[int, ...]
    data_sets: "list[DataSet]"
    diffs: Sequence[FeatureDiff]
    known: "Tables"
    direction: Direction
    viewer: "TraceViewer | None"
    top: int
    by_diff: bool
    n_examples: int
    neuronpedia: bool
    out: Path
    device: "torch.device"


def write_pages(plan: Plan) -> tuple[list[Path], int]:
    """Write every page; return the paths and how many features have a card."""
    paths, entries = [], []
    if plan.viewer is not None:
        for number, values in enumerate(plan.viewer.pieces):
            paths.append(_write_piece(plan.out, page.traces_name(number), values))
    shared = {"run": slug(plan.sae.root), "layers": plan.layers, "traces": plan.viewer is not None}
    shared["compare"] = plan.viewer is not None and len(plan.viewer.meta["sides"]) > 1
    for layer in progress(plan.layers, "dash", unit="layer"):
        of_layer = [row for row in plan.diffs if row.layer == layer]
        made = list(_write_layer(plan, layer, of_layer, shared))
        paths += [path for path, _ in made]
        entries += [entry for _, entry in made if entry is not None]
    if plan.viewer is not None:
        data = shared | plan.viewer.meta
        paths.append(_write(plan.out / page.TRACES, page.traces_page(data)))
        if shared["compare"]:
            paths.append(_write(plan.out / page.COMPARE, page.compare_page(data)))
    index = page.index_page(shared | {"entries": entries})
    return [_write(plan.out / page.INDEX, index), *paths], sum(e["n_shown"] for e in entries)


def _write_layer(
    plan: Plan, layer: int, diffs: list[FeatureDiff], shared: dict[str, Any]
) -> Iterator[tuple[Path, dict[str, Any] | None]]:
    """Write the files of one layer; yield each path, the page's with its numbers for the index.

    The rows are encoded once; their firings lie in files below `plan.out` meanwhile.
    """
    from rewardscope.dashboard.details import LayerFirings
    from rewardscope.dashboard.known import known_features
    from rewardscope.dashboard.layer_data import layer_data
    from rewardscope.features.firing import FiringFile, encode_store, sum_firings
    from rewardscope.sae.model.checkpoint import load_sae

    path = plan.sae.layers[layer]
    sae = load_sae(path, device=plan.device)
    firings = None if plan.viewer is None else plan.viewer.firings()
    with ExitStack() as files:
        encoded = []
        for data in plan.data_sets:
            file = files.enter_context(FiringFile(plan.out, data.store))
            pieces = file.keep(encode_store(sae, data.store, device=plan.device))
            sums = sum_firings(data, pieces, n_features=sae.n_features)
            encoded.append(LayerFirings(data, sums, file))
        made = layer_data(
            encoded,
            diffs,
            top=plan.top,
            by_diff=plan.by_diff,
            n_examples=plan.n_examples,
            cosine_F=cosines(plan.direction, sae),
            known=known_features(plan.known, diffs, layer=layer),
            traces=firings,
        )
    meta = made.meta | {
        "layer": layer,
        "width": sae.width,
        "n_features": sae.n_features,
        "k": sae.k,
        "quality": read_quality(path),
        "direction": {"prm": plan.direction.prm, "why_not": plan.direction.why_not},
        "more": f"invoke dash --top N shows more than {plan.top}",
    }
    export = None
    if plan.neuronpedia:
        run = slug(plan.sae.root)
        export = Export(plan.out, sae, plan.data_sets, run=run, layer=layer)
    yield from ((path, None) for path in _write_pieces(plan, layer, made, firings, export))
    text = page.layer_page(shared | meta)
    yield _write(plan.out / page.layer_file(layer), text), _entry(meta, made.listed, diffs)


def _write_pieces(
    plan: Plan, layer: int, made: "Layer", firings: "TraceFirings | None", export: Export | None
) -> Iterator[Path]:
    yield _write_piece(plan.out, page.list_name(layer), made.listed)
    if export is not None:
        yield from export.heads()
    for number, values in enumerate(made.pieces):
        yield _write_piece(plan.out, page.cards_name(layer, number), values)
        if export is not None:
            yield from export.add(number, values)
    if firings is not None and plan.viewer is not None:
        for number, wanted in enumerate(plan.viewer.sequences):
            values = [[*key, firings.of(*key)] for key in wanted]
            yield _write_piece(plan.out, page.trace_firings_name(layer, number), values)


def _write_piece(out: Path, name: str, values: Any) -> Path:
    return _write(out / page.piece_file(name), page.piece(name, values))


def _write(path: Path, text: str) -> Path:
    write_text(path, text)
    return path


def _entry(
    meta: dict[str, Any], listed: dict[str, Any], diffs: list[FeatureDiff]
) -> dict[str, Any]:
    """Return the numbers of a layer that the index shows."""
    kinds = [0] * len(meta["categories"])
    for kind in listed["columns"]["kind"]:
        kinds[kind] += 1
    favouring = [row for row in diffs if row.favours == "reasoning"]
    names = ("layer", "quality", "n_features", "n_firing", "k", "n_shown", "categories")
    return {name: meta[name] for name in (*names, "data_sets", "step_tags")} | {
        "kinds": kinds,
        "compared": len(diffs),
        "reasoning": len(favouring),
        "formatting": sum(row.share_formatting > 0.5 for row in favouring),
    }
