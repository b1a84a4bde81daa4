"""dictionary_learning 0.1: `config.json` and `ae.pt`, a pickled state dict with decoder.weight [D,
F]; read without running its code.

Reads AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder, AutoEncoderTopK,
BatchTopKSAE, MatryoshkaBatchTopKSAE. Writes AutoEncoderTopK, BatchTopKSAE (one threshold) and
JumpReluAutoEncoder (a threshold for each feature).
"""

from pathlib import Path
from typing import Any

import torch

from rewardscope.errors import BadRecord
from rewardscope.sae.formats import DICTIONARY_CONFIG, DICTIONARY_WEIGHTS, Found
from rewardscope.sae.formats.configs import DictionaryConfig, read_config, read_settings
from rewardscope.sae.formats.weights import (
    State,
    build_sae,
    read_weights,
    ungate,
    whole_number,
    write_weights,
)
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.files import write_json

_ACTIVATIONS: dict[str, str] = {
    "AutoEncoder": "standard",
    "AutoEncoderNew": "standard",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "matryoshka",
}
# the classes whose encoder takes the input as it is
_NO_SUBTRACTION = ("AutoEncoderNew", "JumpReluAutoEncoder")


def read(found: Found) -> Sae:
    """Read one SAE. Raises: BadRecord for a class that is not known."""
    path = found.weights.parent / DICTIONARY_CONFIG
    trainer = read_config(path, DictionaryConfig).trainer
    kind = trainer.dict_class
    if kind not in _ACTIVATIONS:
        raise BadRecord(f"{path}: dict_class {kind!r} is none of {', '.join(_ACTIVATIONS)}")
    state, k, threshold = read_weights(found.weights), None, None
    if kind == "AutoEncoderTopK":
        k = whole_number(state, "k", found.weights) if "k" in state else trainer.k
        if k is None:
            raise BadRecord(f"{path}: {kind} without k")
    elif kind == "GatedAutoEncoder":
        state, threshold = ungate(state, found.weights, gate="gate_bias", magnitude="mag_bias")
    else:
        threshold = state.get("threshold", torch.tensor(0.0))
    return build_sae(
        state,
        found.weights,
        layer=found.layer,
        activation=_ACTIVATIONS[kind],
        k=k,
        threshold=threshold,
        subtracts_b_dec=kind not in _NO_SUBTRACTION,
        info={"imported_from": "dictionary-learning", "config": read_settings(path)["trainer"]},
    )


def write(folder: Path, sae: Sae) -> list[Path]:
    """Write one SAE so that dictionary_learning reads it with `utils.load_dictionary`."""
    kind, k, state = _state(sae)
    trainer: dict[str, Any] = {
        "trainer_class": "rewardscope",
        "dict_class": kind,
        "k": k,
        "activation_dim": sae.width,
        "dict_size": sae.n_features,
        "layer": sae.layer,
        "lm_name": sae.info.get("prm"),
        "submodule_name": f"resid_post_layer_{sae.layer}",
    }
    (folder / DICTIONARY_CONFIG).unlink(missing_ok=True)
    weights = write_weights(folder / DICTIONARY_WEIGHTS, state)
    write_json(folder / DICTIONARY_CONFIG, {"trainer": trainer, "buffer": {}})
    return [weights, folder / DICTIONARY_CONFIG]


def _state(sae: Sae) -> tuple[str, int | None, State]:
    """Return the class that the SAE becomes, its k and its state dict."""
    if sae.threshold_F is not None and float(sae.threshold_F.max() - sae.threshold_F.min()) > 0:
        return (
            "JumpReluAutoEncoder",
            None,
            {
                "W_enc": sae.W_enc_DF,
                "b_enc": sae.b_enc_F - sae.b_dec_D @ sae.W_enc_DF,
                "W_dec": sae.W_dec_FD,
                "b_dec": sae.b_dec_D,
                "threshold": sae.threshold_F.clamp_min(0),
            },
        )
    # a BatchTopK SAE with a threshold does not use it, its class wants one
    k = sae.k or int(sae.info.get("k") or 1)
    threshold = torch.tensor(-1.0) if sae.threshold_F is None else sae.threshold_F[0].clamp_min(0)
    state = {
        "encoder.weight": sae.W_enc_DF.T,
        "encoder.bias": sae.b_enc_F,
        "decoder.weight": sae.W_dec_FD.T,
        "b_dec": sae.b_dec_D,
        "k": torch.tensor(k, dtype=torch.int32),
        "threshold": threshold,
    }
    return ("AutoEncoderTopK" if sae.k else "BatchTopKSAE"), k, state
