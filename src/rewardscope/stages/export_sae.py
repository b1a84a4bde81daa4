"""`export-sae`: write the SAEs of a run in the layout of another library, or those of another
library in ours.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewardscope.layers import check_layers, pick_layers, show_layers
from rewardscope.log import get_logger
from rewardscope.paths import exported_layer_dir, slug
from rewardscope.sae.model.runs import find_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Write the SAEs of a run for SAELens, sparsify or dictionary_learning.

    --sae may also name a checkpoint of one of these libraries, so `--format rewardscope` imports
    it. Biases, norms and scales are folded into the weights: the outputs stay the same. BatchTopK
    goes to SAELens as jumprelu, and not at all to sparsify.
    """

    sae: str | None = option(
        None,
        help="SAE run, or a checkpoint of another library (default: SAE_CHECKPOINT_PATH)",
        key=False,
    )
    format: Literal["saelens", "sparsify", "dictionary-learning", "rewardscope"] = option(
        help="layout to write"
    )
    out: Path = option(help="folder to write to", key=False)
    layers: str = option("all", help="layers: all, 15, 0-27 or 0,3,5-7")

    def __post_init__(self) -> None:
        check_layers(self.layers)


def run(config: Config, settings: Settings) -> Path:
    """Load each layer and write it; return the folder."""
    sae = find_sae(config.sae, settings)
    stage = Stage("export-sae", config, inputs={"sae": sae.root}, out=config.out)
    if stage.is_done():
        return config.out
    import torch

    from rewardscope.sae.model.card import write_card
    from rewardscope.sae.model.checkpoint import load_sae, save_sae

    layers = pick_layers(config.layers, sorted(sae.layers))
    folders = {layer: exported_layer_dir(stage.work, layer, config.format) for layer in layers}
    with stage:
        files = []
        for layer, folder in folders.items():
            files += save_sae(
                folder,
                load_sae(sae.layers[layer], device=torch.device("cpu")),
                layout=config.format,
            )
        if config.format == "rewardscope":
            files.append(write_card(stage.work, folders, name=slug(config.out)))
        get_logger().info(
            f"export-sae: layers {show_layers(layers)} of {sae.root} as {config.format}"
        )
        stage.finish(
            files, rows=len(layers), extra={"layers": list(layers), "format": config.format}
        )
    return config.out
