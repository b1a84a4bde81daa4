"""Open an SAE of any of the layouts that are read."""

from pathlib import Path

from rewardscope.models.device import pick_device
from rewardscope.sae.model import checkpoint
from rewardscope.sae.model.inference import Sae


def load_sae(path: str | Path, *, device: str = "auto") -> Sae:
    """Load the SAE of one layer: a layer folder of train-sae, or a checkpoint of SAELens, sparsify
    or dictionary_learning.

    Raises: MissingInput; BadRecord with what does not fit; ConfigError for the device.
    """
    return checkpoint.load_sae(Path(path), device=pick_device(device))
