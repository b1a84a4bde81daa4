"""Which SAE to use: a run of `train-sae`, one layer of it, or a checkpoint of another library.

Paths only, nothing heavy.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.paths import find_input, sae_layer_dir
from rewardscope.records import LayerQuality
from rewardscope.sae.formats import Found, find_checkpoint
from rewardscope.settings import Settings
from rewardscope.storage.manifests import read_manifest
from rewardscope.storage.tables import read_json_as

QUALITY = "quality.json"
_LAYER_FOLDER = re.compile(r"layers?[._]\d+")


class SaeRun(NamedTuple):
    """An SAE run: the folder that names its results, and the folder or weights file of each
    layer.
    """

    root: Path
    layers: dict[int, Path]


def read_quality(path: Path) -> dict[str, Any] | None:
    """Return what was measured of a layer, by its folder or weights file; None where nothing was.

    Raises: BadRecord with the field that is wrong.
    """
    file = (path if path.is_dir() else path.parent) / QUALITY
    return msgspec.to_builtins(read_json_as(file, LayerQuality)) if file.is_file() else None


def find_sae(name: str | None, settings: Settings) -> SaeRun:
    """Return the run that `--sae` names, else the one of SAE_CHECKPOINT_PATH.

    Raises: ConfigError, MissingInput, BadRecord.
    """
    chosen = name or settings.sae_checkpoint_path
    if chosen is None:
        raise ConfigError(
            "no SAE is named; pass --sae RUN (a run of invoke train-sae) or set SAE_CHECKPOINT_PATH"
        )
    path = find_input(chosen, settings.sae_checkpoint_dir)
    if path is None:
        raise MissingInput(
            f"SAE {chosen} is neither there nor below {settings.sae_checkpoint_dir}; make it with"
            " invoke train-sae"
        )
    found = find_checkpoint(path)
    if found is None:
        return SaeRun(path, _layers_of(path))
    folder = path if path.is_dir() else path.parent
    root = folder.parent if _LAYER_FOLDER.fullmatch(folder.name) else folder
    return SaeRun(root, {found.layer: path})


def _layers_of(run: Path) -> dict[int, Path]:
    """Return the layers of a run of ours by its manifest, of another library's by its folders."""
    manifest = read_manifest(run)
    if manifest is not None:
        if manifest.stage == "train-sae" or manifest.extra.get("format") == "rewardscope":
            return {layer: sae_layer_dir(run, layer) for layer in manifest.extra["layers"]}
        if manifest.stage != "export-sae":
            raise ConfigError(
                f"{run} was made by {manifest.stage}, not by train-sae; pass --sae RUN"
            )
    layers: dict[int, Path] = {}
    for found in _foreign(run):
        if found.layer in layers:
            first = layers[found.layer]
            raise ConfigError(
                f"{run} has two SAEs of layer {found.layer} ({first}, {found.weights.parent}); name"
                " one of them"
            )
        layers[found.layer] = found.weights.parent
    if not layers:
        raise MissingInput(
            f"{run} has no manifest, so it is not a finished SAE run; run invoke train-sae"
        )
    return dict(sorted(layers.items()))


def _foreign(run: Path) -> Iterator[Found]:
    """Yield the checkpoints of other libraries below a folder, at most two folders down; ours count
    only with their run's manifest.
    """
    for folder in sorted(
        path for pattern in ("*", "*/*") for path in run.glob(pattern) if path.is_dir()
    ):
        found = find_checkpoint(folder)
        if found is not None and found.format != "rewardscope":
            yield found
