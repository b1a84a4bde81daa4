"""`feature-diff`: which SAE features fire more on reasoning than on non-reasoning data, and under
which matched controls they still do, over pairs of data sets, in parts.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.features.shares import DiffShare, shares_file
from rewardscope.layers import pick_layers
from rewardscope.log import get_logger, progress, show
from rewardscope.paths import diff_part_file, slug
from rewardscope.sae.model.runs import find_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, deal, find_required
from rewardscope.stages.feature_diff_flags import Config, Saes, Unit
from rewardscope.stages.feature_diff_tables import show_result
from rewardscope.storage.tables import columns_of, write_csv

if TYPE_CHECKING:
    from rewardscope.features.diff_files import Columns

__all__ = ["Config", "run"]


def run(config: Config, settings: Settings) -> Path:
    """Compare the features of one part's units and write the table."""
    saes = Saes(
        find_sae(config.sae, settings),
        find_sae(config.baseline, settings) if config.baseline else None,
        tuple(find_sae(name, settings) for name in config.twin),
    )
    reasoning, instruct, same_texts = (
        [find_required(name, settings.data_dir, "save-acts") for name in names]
        for names in (config.reasoning, config.instruct, config.same_texts)
    )
    saes = saes._replace(same_texts=tuple(same_texts))
    out = diff_part_file(settings.data_dir, config.name or saes.own.root, config.part, config.total)
    named = dataclasses.replace(
        config, reasoning=tuple(map(slug, reasoning)), instruct=tuple(map(slug, instruct))
    )
    stage = Stage("feature-diff", named, inputs=_inputs(saes, reasoning, instruct), out=out)
    if stage.is_done():
        return out
    layers = pick_layers(config.layers, sorted(saes.own.layers))
    _check_layers(saes, layers)
    units = [
        Unit(layer, first, second) for layer in layers for first in reasoning for second in instruct
    ]
    mine = deal(units, part=config.part, total=config.total)
    with stage:
        n_rows, shares, silent = _compare_units(mine, saes, config, stage.work)
        if not mine:
            get_logger().info(
                f"feature-diff: {len(units)} units leave none for part {config.part} of"
                f" {config.total}; its table is empty"
            )
        stage.finish(
            [stage.work, shares_file(stage.work)],
            rows=n_rows,
            skipped={"features that fire on neither side": silent},
            extra={"units": len(mine)},
        )
    if n_rows:
        show(show_result(out, shares))
    return out


def _inputs(
    saes: Saes, reasoning: Sequence[Path], instruct: Sequence[Path]
) -> dict[str, Path | str]:
    inputs: dict[str, Path | str] = {"sae": saes.own.root}
    if saes.frozen is not None:
        inputs["baseline"] = saes.frozen.root
    inputs |= {f"twin {i}": twin.root for i, twin in enumerate(saes.twins)}
    inputs |= {f"same texts {i}": path for i, path in enumerate(saes.same_texts)}
    inputs |= {f"reasoning {i}": path for i, path in enumerate(reasoning)}
    return inputs | {f"instruct {i}": path for i, path in enumerate(instruct)}


def _check_layers(saes: Saes, layers: Sequence[int]) -> None:
    """Raises: UnknownName for a layer that an SAE lacks which the SAE is set beside."""
    for run in (saes.frozen, *saes.twins):
        if run is not None:
            pick_layers(",".join(map(str, layers)), sorted(run.layers))


def _compare_units(
    units: Sequence[Unit], saes: Saes, config: Config, table: Path
) -> tuple[int, list[DiffShare], int]:
    """Write the tables of the units; return the number of rows, the shares, and how many features
    fire on neither side.
    """
    from rewardscope.features.diff_files import write_diff
    from rewardscope.stages.feature_diff_units import UnitRunner

    shares: list[DiffShare] = []
    silent = 0

    def groups() -> Iterator["Columns"]:
        nonlocal silent
        if not units:
            return
        with UnitRunner(saes, units, config, table.parent) as runner:
            for unit in progress(units, "feature-diff", unit="unit"):
                found = runner.run(unit)
                shares.extend(found.shares)
                silent += found.silent
                yield found.columns

    n_rows = write_diff(table, groups())
    write_csv(shares_file(table), shares, fields=columns_of(DiffShare))
    return n_rows, shares, silent
