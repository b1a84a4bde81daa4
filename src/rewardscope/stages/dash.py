"""`dash`: an HTML page for each SAE layer and an index, which open from disk without a server or a
network.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewardscope.dashboard.page import INDEX
from rewardscope.errors import ConfigError
from rewardscope.features.diff_table import read_parts
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import show
from rewardscope.paths import dash_dir, slug
from rewardscope.sae.model.runs import find_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, find_required, option
from rewardscope.stages.dash_direction import choose_prm, read_direction
from rewardscope.stages.dash_known import find_results, read_results
from rewardscope.stages.dash_pages import Plan, write_pages
from rewardscope.stages.dash_traces import find_files, read_traces
from rewardscope.stages.diffed import diff_tables
from rewardscope.stages.model_flags import DeviceFlag
from rewardscope.storage.acts_info import read_acts_manifest


@dataclass(frozen=True, kw_only=True)
class Config(DeviceFlag):
    """Write a dashboard of SAE features: what each fires on, how often, and what reward goes with
    it.

    A page for each layer, an index and a viewer of traces, below <data dir>/dash/<sae>/; they open
    from disk and load nothing but the files beside them. A page lists every feature that fires;
    --top of them have a card with contexts. What feature-diff, feature-label,
    inject and feature-ablate found out about the same SAE is shown too.
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
    top: int = option(1000, help="features of a layer that get a card with contexts")
    by: Literal["mass", "diff"] = option(
        "mass",
        help="which ones: those with the most activation (mass) or the largest difference (diff)",
    )
    examples: int = option(
        12,
        help=(
            "strongest contexts of a feature; a third as many come from the middle and from the low"
            " third of its activations"
        ),
    )
    traces: tuple[str, ...] = option(
        (),
        help=(
            "generations files whose traces and scores stand beside those of --ds-names in the"
            " trace viewer, separated by commas"
        ),
    )
    problems: int = option(24, help="problems in the trace viewer; 0 for no viewer")
    prm: str | None = option(
        None,
        help=(
            "PRM whose head gives the reward direction (default: that of the states, where it is"
            " on this machine; none for no direction)"
        ),
    )
    neuronpedia: bool = option(
        False,
        help="write the same cards and contexts below neuronpedia/ too, in the layout of that site",
    )

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if not self.ds_names:
            raise ConfigError("--ds-names is empty; name at least one folder of save-acts")
        for name in ("top", "examples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} {getattr(self, name)}: it must be at least 1")
        if self.problems < 0:
            raise ConfigError(f"--problems {self.problems}: it must be 0 or more")


def run(config: Config, settings: Settings) -> Path:
    """Write the pages; return their folder."""
    sae = find_sae(config.sae, settings)
    folders = [find_required(name, settings.data_dir, "save-acts") for name in config.ds_names]
    needed_by = "--by diff" if config.by == "diff" else None
    parts = diff_tables(settings, config.diff or sae.root, stage="dash", needed_by=needed_by)
    files = find_files(config.traces, settings.data_dir)
    prm, why_not = choose_prm(config.prm, [read_acts_manifest(f).extra.prm for f in folders])
    results = find_results(settings, sae.root)
    out = dash_dir(settings.data_dir, config.name or sae.root)
    named = dataclasses.replace(
        config,
        ds_names=tuple(slug(folder) for folder in folders),
        traces=tuple(slug(file) for file in files),
        prm=prm,
    )
    inputs = {f"acts {i}": path for i, path in enumerate(folders)}
    inputs |= {f"diff {i}": path for i, path in enumerate(parts)}
    inputs |= {f"traces {i}": path for i, path in enumerate(files)} | results.inputs()
    prm_input = {} if prm is None else {"prm": prm}
    stage = Stage("dash", named, inputs={"sae": sae.root, **inputs, **prm_input}, out=out)
    if stage.is_done():
        return out
    from rewardscope.features.firing import open_data_set
    from rewardscope.models.device import pick_device
    from rewardscope.storage.acts import ActStore

    layers = pick_layers(config.layers, sorted(sae.layers))
    device = pick_device(config.device)
    stores = {folder: ActStore(folder) for folder in folders}
    direction = read_direction(prm, why_not)
    for store in stores.values():
        store.check_layers(layers)
    data_sets = [open_data_set(slug(folder), store) for folder, store in stores.items()]
    with stage:
        plan = Plan(
            sae=sae,
            layers=layers,
            data_sets=data_sets,
            diffs=read_parts(parts),
            known=read_results(results, parts),
            direction=direction,
            viewer=read_traces(data_sets, files, n=config.problems),
            top=config.top,
            by_diff=config.by == "diff",
            n_examples=config.examples,
            neuronpedia=config.neuronpedia,
            out=stage.work,
            device=device,
        )
        written, n_cards = write_pages(plan)
        stage.finish(written, rows=n_cards)
    show(f"dashboard: {out / INDEX}")
    return out
