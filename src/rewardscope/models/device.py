"""Where a model or a tensor is, and in which precision.

Apart from `load`, which takes seconds to import.
"""

import torch

from rewardscope.errors import ConfigError


def pick_device(device: str) -> torch.device:
    """Return the device;

    `auto` is cuda where there is one, else cpu. Raises: ConfigError for a device that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device {device!r} is none of auto, cpu, cuda, cuda:0 ...") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device!r} is not there (found {torch.cuda.device_count()} CUDA devices); pass"
            " auto or cpu"
        )
    return chosen


def pick_dtype(device: torch.device, wanted: str = "auto") -> torch.dtype:
    """Return the wanted precision; `auto` is bfloat16 on cuda, else float32."""
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
            wanted
        ]
    return torch.bfloat16 if device.type == "cuda" else torch.float32
