"""Save an SAE, and load one whatever library wrote it; its files are the business of `formats/`."""

from pathlib import Path

import torch

from rewardscope.errors import MissingInput
from rewardscope.sae.formats import (
    CONFIG,
    WEIGHTS,
    FormatName,
    bare,
    dictionary_learning,
    find_checkpoint,
    own,
    saelens,
    sparsify,
)
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.manifests import check_file

_HASHED = 100 * 2**20  # bytes: larger weights are checked by their size
_READERS = {
    "rewardscope": own.read,
    "saelens": saelens.read,
    "sparsify": sparsify.read,
    "dictionary-learning": dictionary_learning.read,
    "bare": bare.read,
}
_WRITERS = {
    "rewardscope": own.write,
    "saelens": saelens.write,
    "sparsify": sparsify.write,
    "dictionary-learning": dictionary_learning.write,
}


def load_sae(path: Path, *, device: torch.device) -> Sae:
    """Load a layer folder or its weights file, in any of the layouts.

    Raises: MissingInput, BadRecord with what does not fit.
    """
    found = find_checkpoint(path)
    if found is None:
        raise MissingInput(
            f"{path} is not a finished SAE layer (ours has {WEIGHTS} and {CONFIG}); run invoke"
            " train-sae"
        )
    for file in (found.weights, found.weights.with_name(CONFIG)):
        if file.is_file():
            check_file(file, at_most=_HASHED)
    return _READERS[found.format](found).to(device)


def save_sae(folder: Path, sae: Sae, *, layout: FormatName = "rewardscope") -> list[Path]:
    """Write one SAE, the config last; return the paths.

    Raises: ConfigError where the layout cannot hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _WRITERS[layout](folder, sae)
