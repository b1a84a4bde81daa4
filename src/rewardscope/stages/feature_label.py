"""`feature-label`: what kind of text each SAE feature fires on, by rules that anybody can read."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.errors import ConfigError
from rewardscope.features.labels_table import (
    CATEGORY_FIELDS,
    SHARE_FIELDS,
    CategoryShare,
    FeatureCategory,
    Scope,
    category_rows,
    share_rows,
)
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import progress, show
from rewardscope.paths import feature_labels_dir, slug
from rewardscope.sae.model.runs import SaeRun, find_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, find_required, option
from rewardscope.stages.diffed import diff_tables, favouring
from rewardscope.stages.feature_words import (
    asking,
    features_to_label,
    label_in_words,
    show_words,
    write_words,
)
from rewardscope.stages.model_flags import DeviceFlag
from rewardscope.storage.tables import show_table, shown, write_csv

if TYPE_CHECKING:
    import torch

    from rewardscope.features.firing import DataSet
    from rewardscope.features.labels import LabelSums


@dataclass(frozen=True, kw_only=True)
class Config(DeviceFlag):
    """Say of each SAE feature which kind of text it fires on, beside how common that kind is.

    Rules over tokens and the phrases that they stand in: whitespace, Unicode, special tokens,
    punctuation, LaTeX, numbers and operators, maths words, metacognition, answer frame, other.
    Writes categories.csv (a row a feature, on all firings and on the top contexts) and shares.csv
    below <data dir>/features/<sae>/labels/<name>/. Where feature-diff was run on the same SAE,
    shares among the features that favour reasoning are there too. With --labeller a language model
    labels features in words, scored on other contexts (labels.csv).
    """

    ds_names: tuple[str, ...] = option(
        help="folders of save-acts on whose rows features are looked at, separated by commas"
    )
    sae: str | None = option(
        None, help="SAE run, layer folder or file (default: SAE_CHECKPOINT_PATH)", key=False
    )
    name: str | None = option(
        None, help="name of the result's folder (default: that of the folders)", key=False
    )
    diff: str | None = option(
        None, help="--name of the feature-diff to use (default: that of the SAE)", key=False
    )
    layers: str = option("all", help="layers of the SAE run: all, 15, 0-27 or 0,3,5-7")
    labeller: str | None = option(
        None,
        help="URL of a server with OpenAI's API that labels features in words; its key is read"
        " from LABELLER_API_KEY",
    )
    labeller_model: str | None = option(None, help="with --labeller: the model it is asked for")
    label_top: int = option(
        50,
        help="with --labeller: at most this many features of each layer, of those that favour"
        " reasoning, or without feature-diff of all, those that fire most often",
    )
    seed: int = option(0, help="seed of the contexts that the labeller is asked about")

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if not self.ds_names:
            raise ConfigError("--ds-names is empty; name at least one folder of save-acts")
        if (self.labeller is None) != (self.labeller_model is None):
            raise ConfigError("--labeller and --labeller-model go together")
        if self.label_top < 1:
            raise ConfigError(f"--label-top {self.label_top}: it must be at least 1")


def run(config: Config, settings: Settings) -> Path:
    """Label the features of each layer; return the folder."""
    sae = find_sae(config.sae, settings)
    folders = [find_required(name, settings.data_dir, "save-acts") for name in config.ds_names]
    parts = diff_tables(settings, config.diff or sae.root, stage="feature-label")
    out = feature_labels_dir(settings.data_dir, sae.root, folders, config.name)
    named = dataclasses.replace(config, ds_names=tuple(slug(folder) for folder in folders))
    inputs = {f"acts {i}": path for i, path in enumerate(folders)} | {
        f"diff {i}": path for i, path in enumerate(parts)
    }
    stage = Stage("feature-label", named, inputs={"sae": sae.root, **inputs}, out=out)
    if stage.is_done():
        return out
    layers = pick_layers(config.layers, sorted(sae.layers))
    reasoning = favouring(parts)
    ask = asking(config.labeller, config.labeller_model, settings)
    with stage:
        rows, shares = _label(sae, layers, folders, reasoning, config)
        files = [stage.work / "categories.csv", stage.work / "shares.csv"]
        write_csv(files[0], rows, fields=CATEGORY_FIELDS)
        write_csv(files[1], shares, fields=SHARE_FIELDS)
        words = []
        if ask is not None:
            chosen = features_to_label(rows, reasoning, top=config.label_top)
            words = label_in_words(ask, chosen, sae, folders, stage.work, config)
            files.append(write_words(stage.work, words))
        stage.finish(files, rows=len(rows))
    show(_show(shares))
    if words:
        show(show_words(words))
    return out


def _label(
    sae: SaeRun,
    layers: Sequence[int],
    folders: list[Path],
    reasoning: dict[int, set[int]],
    config: Config,
) -> tuple[list[FeatureCategory], list[CategoryShare]]:
    from rewardscope.features.firing import open_data_set
    from rewardscope.features.labels import Assignment, assign, assign_top
    from rewardscope.models.device import pick_device
    from rewardscope.storage.acts import ActStore

    device = pick_device(config.device)
    stores = {folder: ActStore(folder) for folder in folders}
    for store in stores.values():
        store.check_layers(layers)
    data_sets = [open_data_set(slug(folder), store) for folder, store in stores.items()]
    rows, shares = [], []
    for layer in progress(layers, "feature-label", unit="layer"):
        sums = _sums(sae, layer, data_sets, device=device)
        base_C = sums.rows_UC.sum(axis=0) / sums.rows_UC.sum()
        assignments: tuple[tuple[Scope, Assignment], ...] = (
            ("all", assign(sums.mass_UCF, sums.rows_UC)),
            ("top", assign_top(sums)),
        )
        for scope, assignment in assignments:
            mine = category_rows(assignment, sums, layer=layer, scope=scope)
            rows += mine
            chosen = [row for row in mine if row.feature in reasoning.get(layer, ())]
            for name, features in (("all", mine), ("reasoning", chosen)):
                shares += share_rows(features, base_C, features=name) if features else []
    return rows, shares


def _sums(
    run: SaeRun, layer: int, data_sets: "Sequence[DataSet]", *, device: "torch.device"
) -> "LabelSums":
    from rewardscope.features.firing import encode_store
    from rewardscope.features.labels import sum_labels
    from rewardscope.sae.model.checkpoint import load_sae

    sae = load_sae(run.layers[layer], device=device)
    pieces = [(data, encode_store(sae, data.store, device=device)) for data in data_sets]
    return sum_labels(pieces, n_features=sae.n_features)


def _show(shares: list[CategoryShare]) -> str:
    """Lay out the shares on all firings, of reasoning features where they are known."""
    kinds = {row.features for row in shares}
    wanted = "reasoning" if "reasoning" in kinds else "all"
    header = ("layer", "category", "features", "of", "share", "95 % interval", "of tokens")
    table = [
        (
            row.layer,
            row.category,
            row.count,
            row.n,
            f"{row.share:.3f}",
            f"{shown(row.low)} {shown(row.high)}",
            shown(row.base_rate),
        )
        for row in shares
        if row.features == wanted and row.scope == "all" and row.count
    ]
    which = "features that favour reasoning" if wanted == "reasoning" else "features that fire"
    return f"{show_table(header, table)}\nof {which}, by all their activation"
