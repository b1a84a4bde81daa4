"""What `train-sae` says of its SAEs: quality on held-out problems, in files and as a table."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.sae.model.runs import QUALITY
from rewardscope.stages.sae_rows import Rows
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import show_table

if TYPE_CHECKING:
    from rewardscope.sae.measure.quality import Quality
    from rewardscope.sae.model.inference import Sae


def measure(rows: Rows, saes: "dict[int, Sae]", *, device: str, seed: int) -> "dict[int, Quality]":
    """Measure these layers in one pass over the held-out rows."""
    if not saes:
        return {}
    from rewardscope.models.device import pick_device
    from rewardscope.sae.measure.quality import QualitySums

    chosen = pick_device(device)

    sums = {
        layer: QualitySums(sae.to(chosen), n_problems=len(rows.problems))
        for layer, sae in saes.items()
    }
    for acts, problem_N in rows.held():
        for layer, acts_ND in acts.items():
            sums[layer].add(acts_ND.to(chosen), problem_N)
    return {layer: layer_sums.quality(seed=seed) for layer, layer_sums in sums.items()}


def save(folder: Path, sae: "Sae", quality: "Quality") -> list[Path]:
    from rewardscope.sae.model.checkpoint import save_sae

    files = save_sae(folder, sae)
    write_json(folder / QUALITY, dataclasses.asdict(quality))
    return [*files, folder / QUALITY]


def show_qualities(qualities: "list[Quality]") -> str:
    """Lay out one line a layer, measured on held-out problems."""
    header = ("layer", "FVU", "95 % interval", "L0", "dead", "rows", "problems")
    rows = []
    for q in qualities:
        fvu = (f"{q.fvu.value:.4f}", q.fvu.bounds(".4f"))
        rows.append(
            (
                q.layer,
                *fvu,
                f"{q.l0.value:.1f}",
                f"{q.dead_share.value:.3f}",
                q.n_rows,
                q.n_problems,
            )
        )
    return show_table(header, rows)
