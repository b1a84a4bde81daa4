"""The files of one layer's SAE: `sae.safetensors`, then `cfg.json`, so that a layer folder that has its config is whole."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.sae.inference import Sae
from rewardscope.sae.runs import CONFIG, WEIGHTS
from rewardscope.storage.files import replacing, write_json
from rewardscope.storage.tables import read_json

# Shape legend: D width, F features.


def save_sae(folder: Path, sae: Sae) -> list[Path]:
    """Write the weights, then the config; return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # no config beside weights that it does not describe
    tensors = {"W_enc": sae.W_enc_DF, "b_enc": sae.b_enc_F, "W_dec": sae.W_dec_FD, "b_dec": sae.b_dec_D}
    if sae.threshold_F is not None:
        tensors["threshold"] = sae.threshold_F
    with replacing(folder / WEIGHTS) as temporary:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary)
    config: dict[str, Any] = {
        "architecture": "topk" if sae.k else "jumprelu", "activation": sae.activation, "d_in": sae.width, "d_sae": sae.n_features,
        "k": sae.k, "layer": sae.layer, "dtype": "float32", "apply_b_dec_to_input": True, "normalize_activations": "none",
    }  # fmt: skip
    write_json(folder / CONFIG, config | {"metadata": sae.info})
    return [folder / WEIGHTS, folder / CONFIG]


def load_sae(path: Path, *, device: torch.device) -> Sae:
    """Load a layer folder or its weights file. Raises: MissingInput, BadRecord with what does not fit."""
    folder = path if path.is_dir() else path.parent
    weights = folder / WEIGHTS if path.is_dir() else path
    if not weights.is_file() or not (folder / CONFIG).is_file():
        raise MissingInput(f"{folder} is not a finished SAE layer (it needs {WEIGHTS} and {CONFIG}); run invoke train-sae")
    config = read_json(folder / CONFIG)
    architecture = config.get("architecture")
    if architecture not in ("topk", "jumprelu"):
        raise BadRecord(f"{folder / CONFIG}: architecture {architecture!r}; only topk and jumprelu can be read")
    try:
        tensors = load_file(weights, device=str(device))
    except SafetensorError as error:
        raise BadRecord(f"{weights} is damaged ({error}); re-run invoke train-sae") from None
    width, n_features = config["d_in"], config["d_sae"]
    wanted = {"W_enc": (width, n_features), "b_enc": (n_features,), "W_dec": (n_features, width), "b_dec": (width,)}
    if architecture == "jumprelu":
        wanted["threshold"] = (n_features,)
    for name, shape in wanted.items():
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        if found != shape:
            raise BadRecord(f"{weights}: {name} is {found}, {CONFIG} says {shape}")
    return Sae(
        W_enc_DF=tensors["W_enc"], b_enc_F=tensors["b_enc"], W_dec_FD=tensors["W_dec"], b_dec_D=tensors["b_dec"],
        k=config["k"] if architecture == "topk" else None, threshold_F=tensors.get("threshold"),
        activation=config.get("activation", "topk"), layer=config["layer"], info=config.get("metadata", {}),
    )  # fmt: skip
