"""Layouts of SAE checkpoints, ours and those of other libraries: which one a folder has, and of
which layer. Nothing heavy.
"""

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.storage.tables import read_json

FormatName = Literal["rewardscope", "saelens", "sparsify", "dictionary-learning", "bare"]
WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"  # ours; sparsify names its files the same
SAELENS_WEIGHTS, DICTIONARY_WEIGHTS, DICTIONARY_CONFIG = (
    "sae_weights.safetensors",
    "ae.pt",
    "config.json",
)
BARE_WEIGHTS = "sae.pt"
# Layer l is the residual stream after block l. A hook before block l is the one after block l - 1.
_HOOKS = (
    (re.compile(r"blocks\.(\d+)\.hook_resid_post"), 0),
    (re.compile(r"blocks\.(\d+)\.hook_resid_pre"), -1),
    (re.compile(r"(?:[a-z_]+\.)*(?:layers|h)\.(\d+)"), 0),
)
_NAMED_LAYER = re.compile(r"layers?[._-]?(\d+)")


class Found(NamedTuple):
    """One layer's checkpoint."""

    format: FormatName
    weights: Path
    layer: int


def find_checkpoint(path: Path) -> Found | None:
    """Return what a folder, or a weights file, holds;

    None where it is no checkpoint of one layer. Raises: BadRecord, MissingInput.
    """
    weights = path if path.is_file() else _weights_in(path)
    if weights is None:
        return None
    folder = weights.parent
    config = folder / (DICTIONARY_CONFIG if weights.name == DICTIONARY_WEIGHTS else CONFIG)
    values = read_json(config) if config.is_file() else {}
    chosen = _format(weights, values)
    if chosen is None:
        raise MissingInput(
            f"{folder} is not a finished SAE layer ({config.name} is not there); run invoke"
            " train-sae"
        )
    layer = _layer(chosen, weights, values)
    if layer is None or layer < 0:
        raise BadRecord(
            f"{weights}: its config and name do not say after which block it reads; rename its"
            " folder to layer_15 or the like"
        )
    return Found(chosen, weights, layer)


def _weights_in(folder: Path) -> Path | None:
    for weights, config in (
        (SAELENS_WEIGHTS, CONFIG),
        (WEIGHTS, CONFIG),
        (DICTIONARY_WEIGHTS, DICTIONARY_CONFIG),
        (BARE_WEIGHTS, None),
    ):
        if (folder / weights).is_file() and (config is None or (folder / config).is_file()):
            return folder / weights
    return None


def _format(weights: Path, config: dict[str, Any]) -> FormatName | None:
    if weights.suffix == ".pt":
        return "dictionary-learning" if "trainer" in config else "bare"
    if not config:
        return None
    if weights.name == SAELENS_WEIGHTS:
        return "saelens"
    return "rewardscope" if "architecture" in config else "sparsify"


def _layer(chosen: FormatName, weights: Path, config: dict[str, Any]) -> int | None:
    """Return the layer that the config names, else the one in the name of the file or of a folder
    above it.
    """
    if "layer" in config:
        return config["layer"]
    if chosen == "dictionary-learning" and config["trainer"].get("layer") is not None:
        return config["trainer"]["layer"]
    if chosen == "saelens":
        return layer_of_hook(
            config.get("metadata", {}).get("hook_name") or config.get("hook_name") or ""
        )
    if chosen == "sparsify":
        return (
            layer_of_hook(weights.parent.name)
            if "." in weights.parent.name
            else _named_layer(weights)
        )
    return _named_layer(weights)


def layer_of_hook(name: str) -> int | None:
    """Return the layer that a hook reads, or None where it is no residual stream between blocks."""
    for pattern, shift in _HOOKS:
        if match := pattern.fullmatch(name):
            return int(match[1]) + shift
    return None


def _named_layer(weights: Path) -> int | None:
    names = [weights.stem, *(folder.name for folder in weights.absolute().parents[:3])]
    return next((int(match[1]) for name in names if (match := _NAMED_LAYER.search(name))), None)
