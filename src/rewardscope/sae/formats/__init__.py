"""Layouts of SAE checkpoints, ours and those of other libraries: which one a folder has, and of
which layer. Nothing heavy.
"""

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.sae.formats.configs import (
    BareConfig,
    DictionaryConfig,
    OwnConfig,
    SaelensConfig,
    read_config,
    read_settings,
    refuse,
)

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
_OTHER_PARTS = re.compile(r"mlp|att|head|proj|embed|norm|resid_(?:pre|mid)|\bln", re.IGNORECASE)
_MOST_LAYERS = 10_000


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
    config = config_of(weights)
    chosen = _format(weights, read_settings(config) if config.is_file() else {})
    if chosen is None:
        raise MissingInput(
            f"{weights.parent} is not a finished SAE layer ({config.name} is not there); run invoke"
            " train-sae"
        )
    layer = _LAYERS[chosen](weights, config)
    if layer is None or not 0 <= layer < _MOST_LAYERS:
        raise BadRecord(
            f"{weights}: its config and name do not say after which block it reads"
            f"{'' if layer is None else f' ({layer})'}; rename its folder to layer_15 or the like"
        )
    return Found(chosen, weights, layer)


def config_of(weights: Path) -> Path:
    """Return where the config of a weights file is."""
    return weights.with_name(DICTIONARY_CONFIG if weights.name == DICTIONARY_WEIGHTS else CONFIG)


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


def _own_layer(weights: Path, config: Path) -> int | None:
    said, named = read_config(config, OwnConfig).layer, _of_name(weights.parent.name)
    if said is not None and named is not None and said != named:
        raise BadRecord(
            f"{config} is of layer {said}, and its folder is {weights.parent.name}: one of the two"
            " was moved; re-run invoke train-sae, or put the right file back"
        )
    return _named_layer(weights) if said is None else said


def _saelens_layer(weights: Path, config: Path) -> int | None:
    said = read_config(config, SaelensConfig)
    if said.head is not None:
        refuse(config, "hook_head_index", said.head, "only an SAE of the whole residual stream")
    if said.hook is None:
        return _named_layer(weights) if said.layer is None else said.layer
    layer = layer_of_hook(said.hook)
    if layer is None:
        refuse(config, "hook_name", said.hook, "only the residual stream between blocks")
    return layer


def _sparsify_layer(weights: Path, config: Path) -> int | None:
    name = weights.parent.name
    if "." not in name:
        return _named_layer(weights)
    layer = layer_of_hook(name)
    if layer is None:
        raise BadRecord(
            f"{config}: its folder says that it reads {name}; only the residual stream between"
            " blocks (layers.15) can be read"
        )
    return layer


def _dictionary_layer(weights: Path, config: Path) -> int | None:
    trainer, buffer = (said := read_config(config, DictionaryConfig)).trainer, said.buffer
    module = trainer.submodule_name or ""
    if _OTHER_PARTS.search(module):
        refuse(config, "submodule_name", module, "only the residual stream after a block")
    if buffer is not None and buffer.io not in (None, "out"):
        refuse(config, "io", buffer.io, "only the output of a block")
    named = _of_name(module)
    if trainer.layer is not None and named is not None and trainer.layer != named:
        raise BadRecord(f"{config}: layer is {trainer.layer}, and submodule_name is {module!r}")
    if trainer.layer is not None or named is not None:
        return named if trainer.layer is None else trainer.layer
    return _named_layer(weights)


def _bare_layer(weights: Path, config: Path) -> int | None:
    said = read_config(config, BareConfig).layer if config.is_file() else None
    return _named_layer(weights) if said is None else said


_LAYERS = {
    "rewardscope": _own_layer,
    "saelens": _saelens_layer,
    "sparsify": _sparsify_layer,
    "dictionary-learning": _dictionary_layer,
    "bare": _bare_layer,
}


def layer_of_hook(name: str) -> int | None:
    """Return the layer that a hook reads, or None where it is no residual stream between blocks."""
    for pattern, shift in _HOOKS:
        if match := pattern.fullmatch(name):
            return int(match[1]) + shift
    return None


def _of_name(name: str) -> int | None:
    match = _NAMED_LAYER.search(name)
    return int(match[1]) if match else None


def _named_layer(weights: Path) -> int | None:
    names = [weights.stem, *(folder.name for folder in weights.absolute().parents[:3])]
    return next((layer for name in names if (layer := _of_name(name)) is not None), None)
