"""`feature-diff`: which SAE features fire more on reasoning than on non-reasoning data, over pairs
of data sets, in parts.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rewardscope.errors import ConfigError
from rewardscope.features.diff_table import FIELDS, FeatureDiff, diff_rows
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import get_logger, progress, show
from rewardscope.paths import diff_part_file, find_input, slug
from rewardscope.sae.model.runs import SaeRun, find_sae
from rewardscope.settings import Settings
from rewardscope.stage import MOST_PARTS, Stage, StageConfig, check_part, deal, option, require
from rewardscope.storage.tables import show_table, shown, write_csv

if TYPE_CHECKING:
    import torch

    from rewardscope.features.firing import DataSet, FiringSums

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Compare how often SAE features fire on reasoning and on instruct data.

    Every pair of a reasoning and an instruct folder of save-acts, at every layer, is a unit of
    work; the units are dealt to --total parts and --part makes one of them. Writes <data
    dir>/features/<sae>/diff/part_XX_of_YY.csv, a row a feature.
    """

    reasoning: tuple[str, ...] = option(
        help="folders of save-acts made from reasoning models, separated by commas"
    )
    instruct: tuple[str, ...] = option(
        help="folders of save-acts made from non-reasoning models, separated by commas"
    )
    sae: str | None = option(
        None, help="SAE run, layer folder or file (default: SAE_CHECKPOINT_PATH)", key=False
    )
    name: str | None = option(
        None, help="stands for the SAE in the folder of the result", key=False
    )
    layers: str = option("all", help="layers of the SAE run: all, 15, 0-27 or 0,3,5-7")
    part: int = option(1, help="which part of the work to do, from 1")
    total: int = option(1, help="how many parts the work is dealt to", at_most=MOST_PARTS)
    fdr: float = option(
        0.05, help="false discovery rate up to which a feature counts as favouring a side"
    )
    min_log2_ratio: float = option(
        1.0, help="least log2 of the ratio of firing rates for that; 1 is twice as often"
    )
    resamples: int = option(1000, help="bootstrap resamples of problems", at_most=1_000_000)
    seed: int = option(0, help="seed of the bootstrap")
    device: str = option("auto", help="auto, cpu or cuda", key=False)

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if not self.reasoning or not self.instruct:
            raise ConfigError(
                "--reasoning and --instruct each need at least one folder of save-acts"
            )
        check_part(self.part, self.total)
        if not 0 < self.fdr < 1:
            raise ConfigError(f"--fdr {self.fdr}: it must be above 0 and below 1")
        if self.min_log2_ratio < 0:
            raise ConfigError(f"--min-log2-ratio {self.min_log2_ratio}: it must be 0 or more")
        if self.resamples < 1:
            raise ConfigError(f"--resamples {self.resamples}: it must be at least 1")


class Unit(NamedTuple):
    """One layer of one pair of folders."""

    layer: int
    reasoning: Path
    instruct: Path


def run(config: Config, settings: Settings) -> Path:
    """Compare the features of one part's units and write the table."""
    sae = find_sae(config.sae, settings)
    reasoning, instruct = (
        [require(find_input(name, settings.data_dir), name, "save-acts") for name in names]
        for names in (config.reasoning, config.instruct)
    )
    out = diff_part_file(settings.data_dir, config.name or sae.root, config.part, config.total)
    named = dataclasses.replace(
        config, reasoning=tuple(map(slug, reasoning)), instruct=tuple(map(slug, instruct))
    )
    inputs = {f"reasoning {i}": path for i, path in enumerate(reasoning)} | {
        f"instruct {i}": path for i, path in enumerate(instruct)
    }
    stage = Stage("feature-diff", named, inputs={"sae": sae.root, **inputs}, out=out)
    if stage.is_done():
        return out
    layers = pick_layers(config.layers, sorted(sae.layers))
    units = [
        Unit(layer, first, second) for layer in layers for first in reasoning for second in instruct
    ]
    mine = deal(units, part=config.part, total=config.total)
    with stage:
        rows, silent = _compare_units(mine, sae, config) if mine else ([], 0)
        write_csv(stage.work, rows, fields=FIELDS)
        if not mine:
            get_logger().info(
                f"feature-diff: {len(units)} units leave none for part {config.part} of"
                f" {config.total}; its table is empty"
            )
        stage.finish(
            [stage.work],
            rows=len(rows),
            skipped={"features that fire on neither side": silent},
            extra={"units": len(mine)},
        )
    if rows:
        show(_show(rows))
    return out


def _compare_units(units: list[Unit], sae: SaeRun, config: Config) -> tuple[list[FeatureDiff], int]:
    """Return the rows of the units and how many features fire on neither side."""
    from rewardscope.features.diff import compare, favoured
    from rewardscope.features.firing import open_data_set
    from rewardscope.models.device import pick_device
    from rewardscope.storage.acts import ActStore

    device = pick_device(config.device)
    folders = dict.fromkeys(folder for unit in units for folder in (unit.reasoning, unit.instruct))
    stores = {folder: ActStore(folder) for folder in folders}
    for store in stores.values():
        store.check_layers([unit.layer for unit in units])
    data_sets = {folder: open_data_set(slug(folder), store) for folder, store in stores.items()}
    rows, silent = [], 0
    sums: dict[tuple[int, Path], FiringSums] = {}
    for unit in progress(units, "feature-diff", unit="unit"):
        sums = {key: value for key, value in sums.items() if key[0] == unit.layer}
        for folder in (unit.reasoning, unit.instruct):
            if (unit.layer, folder) not in sums:
                sums[unit.layer, folder] = _sums(sae, unit.layer, data_sets[folder], device=device)
        first, second = sums[unit.layer, unit.reasoning], sums[unit.layer, unit.instruct]
        comparison = compare(first, second, n_resamples=config.resamples, seed=config.seed)
        favoured_F = favoured(comparison, fdr=config.fdr, min_log2_ratio=config.min_log2_ratio)
        rows += diff_rows(
            comparison,
            favoured_F,
            layer=unit.layer,
            reasoning=slug(unit.reasoning),
            instruct=slug(unit.instruct),
        )
        silent += int((~comparison.fires_F).sum())
    return rows, silent


def _sums(run: SaeRun, layer: int, data: "DataSet", *, device: "torch.device") -> "FiringSums":
    from rewardscope.features.firing import encode_store, sum_firings
    from rewardscope.sae.model.checkpoint import load_sae

    sae = load_sae(run.layers[layer], device=device)
    pieces = encode_store(sae, data.store, device=device)
    return sum_firings(data, pieces, n_features=sae.n_features)


def _show(rows: list[FeatureDiff]) -> str:
    """Lay out the rows with the largest difference, and what the reasoning features fire on."""
    header = (
        "layer",
        "feature",
        "reasoning",
        "instruct",
        "difference",
        "95 % interval",
        "q",
        "favours",
        "fires most on",
    )
    table = [
        (
            r.layer,
            r.feature,
            f"{r.rate_reasoning:.4f}",
            f"{r.rate_instruct:.4f}",
            f"{r.difference:+.4f}",
            f"{shown(r.low, '+.4f')} {shown(r.high, '+.4f')}",
            f"{r.q_value:.2g}",
            r.favours,
            r.top_category,
        )
        for r in sorted(rows, key=lambda r: -abs(r.difference))[:_SHOWN]
    ]
    return f"{show_table(header, table)}\n{summary(rows)}"


def summary(rows: Sequence[FeatureDiff]) -> str:
    """Say how many features favour reasoning, and how many of these put most of their activation on
    formatting tokens.
    """
    from rewardscope.statistics.intervals import wilson

    favouring = [row for row in rows if row.favours == "reasoning"]
    if not favouring:
        return f"no feature of {len(rows)} favours reasoning"
    formatting = sum(row.share_formatting > 0.5 for row in favouring)
    return (
        f"{len(favouring)} of {len(rows)} features favour reasoning; share of these with most"
        " activation on whitespace, punctuation and Unicode symbols:"
        f" {wilson(formatting, len(favouring))}"
    )
