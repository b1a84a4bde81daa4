"""`dash`: an HTML page for each SAE layer and an index, which open from disk without a server or a
network.
"""

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewardscope.dashboard.page import INDEX, index_page, layer_file, layer_page
from rewardscope.errors import ConfigError
from rewardscope.features.diff_table import FeatureDiff, read_parts
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import progress, show
from rewardscope.paths import dash_dir, find_input, slug
from rewardscope.sae.model.runs import SaeRun, find_sae, read_quality
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option, require
from rewardscope.stages.diffed import diff_tables
from rewardscope.storage.files import write_text

if TYPE_CHECKING:
    import torch

    from rewardscope.features.firing import DataSet


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Write a dashboard of SAE features: what each fires on, how often, and what reward goes with
    it.

    A page for each layer and an index, below <data dir>/dash/<sae>/; they open from disk and load
    nothing. Where feature-diff was run on the same SAE, its results are shown too.
    """

    ds_names: tuple[str, ...] = option(
        help="folders of save-acts whose rows are shown, separated by commas"
    )
    sae: str | None = option(
        None, help="SAE run, layer folder or file (default: SAE_CHECKPOINT_PATH)", key=False
    )
    name: str | None = option(None, help="name of the result's folder", key=False)
    diff: str | None = option(
        None, help="--name of the feature-diff to show (default: that of the SAE)", key=False
    )
    layers: str = option("all", help="layers of the SAE run: all, 15, 0-27 or 0,3,5-7")
    top: int = option(200, help="features to show for each layer")
    by: Literal["mass", "diff"] = option(
        "mass",
        help="which ones: those with the most activation (mass) or the largest difference (diff)",
    )
    examples: int = option(12, help="contexts to show for each feature")
    device: str = option("auto", help="auto, cpu or cuda", key=False)

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if not self.ds_names:
            raise ConfigError("--ds-names is empty; name at least one folder of save-acts")
        for name in ("top", "examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} {getattr(self, name)}: it must be at least 1")


def run(config: Config, settings: Settings) -> Path:
    """Write the pages; return their folder."""
    sae = find_sae(config.sae, settings)
    folders = [
        require(find_input(name, settings.data_dir), name, "save-acts") for name in config.ds_names
    ]
    needed_by = "--by diff" if config.by == "diff" else None
    parts = diff_tables(settings, config.diff or sae.root, stage="dash", needed_by=needed_by)
    out = dash_dir(settings.data_dir, config.name or sae.root)
    named = dataclasses.replace(config, ds_names=tuple(slug(folder) for folder in folders))
    inputs = {f"acts {i}": path for i, path in enumerate(folders)} | {
        f"diff {i}": path for i, path in enumerate(parts)
    }
    stage = Stage("dash", named, inputs={"sae": sae.root, **inputs}, out=out)
    if stage.is_done():
        return out
    layers = pick_layers(config.layers, sorted(sae.layers))
    with stage:
        pages, entries = _write_pages(sae, layers, folders, read_parts(parts), config, stage.work)
        index = stage.work / INDEX
        write_text(index, index_page({"run": slug(sae.root), "layers": layers, "entries": entries}))
        stage.finish([index, *pages], rows=sum(entry["n_shown"] for entry in entries))
    show(f"dashboard: {out / INDEX}")
    return out


def _write_pages(
    sae: SaeRun,
    layers: tuple[int, ...],
    folders: list[Path],
    diffs: list[FeatureDiff],
    config: Config,
    out: Path,
) -> tuple[list[Path], list[dict[str, Any]]]:
    """Write a page a layer; return their paths and the numbers of each layer for the index."""
    from rewardscope.features.firing import open_data_set
    from rewardscope.models.device import pick_device
    from rewardscope.storage.acts import ActStore

    device = pick_device(config.device)
    stores = {folder: ActStore(folder) for folder in folders}
    for store in stores.values():
        store.check_layers(layers)
    data_sets = [open_data_set(slug(folder), store) for folder, store in stores.items()]
    pages, entries = [], []
    for layer in progress(layers, "dash", unit="layer"):
        of_layer = [row for row in diffs if row.layer == layer]
        data = _layer(sae, layer, data_sets, of_layer, config, out, device=device) | {
            "run": slug(sae.root),
            "layers": layers,
        }
        pages.append(out / layer_file(layer))
        write_text(pages[-1], layer_page(data))
        entries.append(_entry(data, of_layer))
    return pages, entries


def _layer(
    sae: SaeRun,
    layer: int,
    data_sets: "list[DataSet]",
    diffs: list[FeatureDiff],
    config: Config,
    scratch: Path,
    *,
    device: "torch.device",
) -> dict[str, Any]:
    """Encode the rows of a layer once and return the values of its page; the firings lie in files
    below `scratch` meanwhile.
    """
    from rewardscope.dashboard.layer_data import LayerFirings, layer_data
    from rewardscope.features.firing import FiringFile, encode_store, sum_firings
    from rewardscope.sae.model.checkpoint import load_sae

    path = sae.layers[layer]
    model = load_sae(path, device=device)
    encoded = []
    with ExitStack() as files:
        for data in data_sets:
            file = files.enter_context(FiringFile(scratch, data.store))
            pieces = file.keep(encode_store(model, data.store, device=device))
            sums = sum_firings(data, pieces, n_features=model.n_features)
            encoded.append(LayerFirings(data, sums, file))
        shown = layer_data(
            encoded, diffs, top=config.top, by_diff=config.by == "diff", n_examples=config.examples
        )
    return shown | {
        "layer": layer,
        "width": model.width,
        "n_features": model.n_features,
        "k": model.k,
        "quality": read_quality(path),
    }


def _entry(data: dict[str, Any], diffs: list[FeatureDiff]) -> dict[str, Any]:
    """Return the numbers of a layer that the index shows."""
    kinds = [0] * len(data["categories"])
    for feature in data["features"]:
        kinds[feature["kinds"].index(max(feature["kinds"]))] += 1
    favouring = [row for row in diffs if row.favours == "reasoning"]
    return {
        "layer": data["layer"],
        "quality": data["quality"],
        "n_features": data["n_features"],
        "n_firing": data["n_firing"],
        "k": data["k"],
        "n_shown": len(data["features"]),
        "categories": data["categories"],
        "kinds": kinds,
        "data_sets": data["data_sets"],
        "compared": len(diffs),
        "reasoning": len(favouring),
        "formatting": sum(row.share_formatting > 0.5 for row in favouring),
    }
