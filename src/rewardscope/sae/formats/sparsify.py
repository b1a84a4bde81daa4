"""sparsify 1.3:

`layers.15/cfg.json` and `sae.safetensors`, encoder.weight [F, D] and W_dec [F, D] (not transposed).
TopK only.
"""

from pathlib import Path

import torch

from rewardscope.errors import ConfigError
from rewardscope.sae.formats import CONFIG, WEIGHTS, Found
from rewardscope.sae.formats.configs import SparsifyConfig, read_config, read_settings, refuse
from rewardscope.sae.formats.weights import build_sae, read_weights, write_weights
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.files import write_json


def read(found: Found) -> Sae:
    """Read one SAE.

    Raises: BadRecord for a transcoder, a skip connection, or where other features than the k
    largest fire.
    """
    path = found.weights.parent / CONFIG
    config = read_config(path, SparsifyConfig)
    for name, value, wanted in (
        ("activation", config.activation, "topk"),
        ("signed", config.signed, False),
        ("transcode", config.transcode, False),
        ("skip_connection", config.skip_connection, False),
    ):
        if value != wanted:
            refuse(path, name, value, f"only {wanted!r}")
    state = read_weights(found.weights)
    info = {"imported_from": "sparsify", "config": read_settings(path)}
    return build_sae(
        state, found.weights, layer=found.layer, activation="topk", k=config.k, info=info
    )


def write(folder: Path, sae: Sae) -> list[Path]:
    """Write one SAE so that sparsify reads it with `SparseCoder.load_from_disk`.

    Raises: ConfigError where it is not TopK.
    """
    if sae.k is None:
        raise ConfigError(
            f"--format sparsify holds TopK SAEs only; layer {sae.layer} is {sae.activation}: pass"
            " --format saelens"
        )
    state = {
        "encoder.weight": sae.W_enc_DF.T,
        "encoder.bias": sae.b_enc_F,
        "W_dec": sae.W_dec_FD,
        "b_dec": sae.b_dec_D,
    }
    norm_F = sae.W_dec_FD.norm(dim=1)
    config = {
        "activation": "topk",
        "expansion_factor": max(1, sae.n_features // sae.width),
        "num_latents": sae.n_features,
        "k": sae.k,
        "normalize_decoder": bool(torch.allclose(norm_F, torch.ones_like(norm_F), atol=1e-3)),
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": sae.width,
    }
    (folder / CONFIG).unlink(missing_ok=True)
    weights = write_weights(folder / WEIGHTS, state)
    write_json(folder / CONFIG, config)
    return [weights, folder / CONFIG]
