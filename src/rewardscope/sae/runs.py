"""Which SAE to use: a run of `train-sae`, one layer folder of it, or one weights file. Paths only, nothing heavy."""

import re
from pathlib import Path
from typing import NamedTuple

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.paths import find_input, sae_layer_dir
from rewardscope.settings import Settings
from rewardscope.storage.files import manifest_of
from rewardscope.storage.tables import read_json

WEIGHTS, CONFIG, QUALITY = "sae.safetensors", "cfg.json", "quality.json"
_LAYER_FOLDER = re.compile(r"layer_\d+")


class SaeRun(NamedTuple):
    """An SAE run: the folder that names its results, and the folder or weights file of each layer."""

    root: Path
    layers: dict[int, Path]


def find_sae(name: str | None, settings: Settings) -> SaeRun:
    """Return the run that `--sae` names, else the one of SAE_CHECKPOINT_PATH. Raises: ConfigError, MissingInput."""
    chosen = name or settings.sae_checkpoint_path
    if chosen is None:
        raise ConfigError("no SAE is named; pass --sae RUN (a run of invoke train-sae) or set SAE_CHECKPOINT_PATH")
    path = find_input(chosen, settings.sae_checkpoint_dir)
    if path is None:
        raise MissingInput(f"SAE {chosen} is neither there nor below {settings.sae_checkpoint_dir}; make it with invoke train-sae")
    if path.is_dir() and not (path / CONFIG).is_file():
        return SaeRun(path, _layers_of(path))
    folder = path if path.is_dir() else path.parent
    if not (folder / CONFIG).is_file():
        raise MissingInput(f"{folder} has no {CONFIG}, so it is not a finished SAE layer; run invoke train-sae")
    root = folder.parent if _LAYER_FOLDER.fullmatch(folder.name) else folder
    return SaeRun(root, {read_json(folder / CONFIG)["layer"]: path})


def _layers_of(run: Path) -> dict[int, Path]:
    if not manifest_of(run).is_file():
        raise MissingInput(f"{run} has no manifest, so it is not a finished SAE run; run invoke train-sae")
    manifest = read_json(manifest_of(run))
    if manifest["stage"] != "train-sae":
        raise ConfigError(f"{run} was made by {manifest['stage']}, not by train-sae; pass --sae RUN")
    return {layer: sae_layer_dir(run, layer) for layer in manifest["extra"]["layers"]}
