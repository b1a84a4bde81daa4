"""Finished SAEs: encode, decode, and the files of one layer (`sae.safetensors`, `cfg.json`). Inference only.

`cfg.json` is written after the weights, so a layer folder that has it is whole; a run is finished when its manifest is there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.sae.bank import Codes, decode, top_pre_activations
from rewardscope.sae.runs import CONFIG, WEIGHTS
from rewardscope.storage.files import replacing, write_json
from rewardscope.storage.tables import read_json

# Shape legend: N rows, D width, F features, K active features a row.


@dataclass(frozen=True, kw_only=True)
class Sae:
    """A TopK SAE of one layer, for raw activations in float32. `info` is the metadata of its cfg.json."""

    W_enc_DF: Tensor
    b_enc_F: Tensor
    W_dec_FD: Tensor
    b_dec_D: Tensor
    k: int
    layer: int
    info: dict[str, Any]

    @property
    def width(self) -> int:
        return len(self.b_dec_D)

    @property
    def n_features(self) -> int:
        return len(self.b_enc_F)

    @torch.no_grad()
    def encode(self, x_ND: Tensor) -> Codes:
        """Return the codes of raw activations; a value of 0 means that the feature did not fire."""
        top = top_pre_activations(x_ND - self.b_dec_D, self.W_enc_DF, self.b_enc_F, k=self.k)
        return Codes(top.values_NK.relu_(), top.indices_NK)

    @torch.no_grad()
    def decode(self, codes: Codes) -> Tensor:
        """Return the reconstruction [N, D] of raw activations."""
        return decode(codes, self.W_dec_FD) + self.b_dec_D

    def to(self, device: torch.device) -> "Sae":
        """Return the same SAE with its weights on `device`."""
        weights = {name: getattr(self, name).to(device) for name in ("W_enc_DF", "b_enc_F", "W_dec_FD", "b_dec_D")}
        return Sae(**weights, k=self.k, layer=self.layer, info=self.info)

    def check(self, *, layer: int, width: int, where: str) -> None:
        """Raises: BadRecord where the SAE was made for another layer or width than the activations of `where` have."""
        if layer != self.layer:
            raise BadRecord(f"the SAE is of layer {self.layer}, the activations of {where} are of layer {layer}")
        if width != self.width:
            raise BadRecord(
                f"the SAE of layer {layer} has width {self.width}, the activations of {where} have {width}; was it another PRM?"
            )


def save_sae(folder: Path, sae: Sae) -> list[Path]:
    """Write the weights, then the config; return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)  # no config beside weights that it does not describe
    tensors = {"W_enc": sae.W_enc_DF, "b_enc": sae.b_enc_F, "W_dec": sae.W_dec_FD, "b_dec": sae.b_dec_D}
    with replacing(folder / WEIGHTS) as temporary:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary)
    config = {
        "architecture": "topk", "d_in": sae.width, "d_sae": sae.n_features, "k": sae.k, "layer": sae.layer, "dtype": "float32",
        "apply_b_dec_to_input": True, "normalize_activations": "none",
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
    if config.get("architecture") != "topk":
        raise BadRecord(f"{folder / CONFIG}: architecture {config.get('architecture')!r}; only topk can be read")
    try:
        tensors = load_file(weights, device=str(device))
    except SafetensorError as error:
        raise BadRecord(f"{weights} is damaged ({error}); re-run invoke train-sae") from None
    width, n_features = config["d_in"], config["d_sae"]
    wanted = {"W_enc": (width, n_features), "b_enc": (n_features,), "W_dec": (n_features, width), "b_dec": (width,)}
    for name, shape in wanted.items():
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        if found != shape:
            raise BadRecord(f"{weights}: {name} is {found}, {CONFIG} says {shape}")
    return Sae(
        W_enc_DF=tensors["W_enc"], b_enc_F=tensors["b_enc"], W_dec_FD=tensors["W_dec"], b_dec_D=tensors["b_dec"],
        k=config["k"], layer=config["layer"], info=config.get("metadata", {}),
    )  # fmt: skip
