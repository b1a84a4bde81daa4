"""Our own layout: `sae.safetensors`, then `cfg.json`.

In this order a layer folder that has its config is whole.
"""

from pathlib import Path

from rewardscope.errors import BadRecord
from rewardscope.sae.formats import CONFIG, WEIGHTS, Found
from rewardscope.sae.formats.configs import OwnConfig, read_config, refuse
from rewardscope.sae.formats.weights import State, build_sae, read_weights, write_weights
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.files import write_json


def read(found: Found) -> Sae:
    """Read one SAE. Raises: BadRecord with what does not fit."""
    path = found.weights.parent / CONFIG
    config = read_config(path, OwnConfig)
    if config.architecture not in ("topk", "jumprelu"):
        refuse(path, "architecture", config.architecture, "only topk and jumprelu")
    state = read_weights(found.weights)
    _check(state, config, found.weights)
    return build_sae(
        state,
        found.weights,
        layer=found.layer,
        activation=config.activation,
        k=config.k if config.architecture == "topk" else None,
        threshold=state["threshold"] if config.architecture == "jumprelu" else None,
        info=config.metadata,
    )


def _check(state: State, config: OwnConfig, where: Path) -> None:
    if config.architecture == "topk" and config.k is None:
        raise BadRecord(f"{where.with_name(CONFIG)}: a topk SAE without k")
    width, n_features = config.d_in, config.d_sae
    wanted = {
        "W_enc": (width, n_features),
        "b_enc": (n_features,),
        "W_dec": (n_features, width),
        "b_dec": (width,),
    }
    if config.architecture == "jumprelu":
        wanted["threshold"] = (n_features,)
    for name, shape in wanted.items():
        found = tuple(state[name].shape) if name in state else "nothing"
        if found != shape:
            raise BadRecord(f"{where}: {name} is {found}, {CONFIG} says {shape}")


def write(folder: Path, sae: Sae) -> list[Path]:
    """Write the weights, then the config; return both paths."""
    (folder / CONFIG).unlink(missing_ok=True)  # no config beside weights that it does not describe
    state = {
        "W_enc": sae.W_enc_DF,
        "b_enc": sae.b_enc_F,
        "W_dec": sae.W_dec_FD,
        "b_dec": sae.b_dec_D,
    }
    if sae.threshold_F is not None:
        state["threshold"] = sae.threshold_F
    weights = write_weights(folder / WEIGHTS, state)
    config = {
        "architecture": "topk" if sae.k else "jumprelu",
        "activation": sae.activation,
        "d_in": sae.width,
        "d_sae": sae.n_features,
        "k": sae.k,
        "layer": sae.layer,
        "dtype": "float32",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
    }
    write_json(folder / CONFIG, config | {"metadata": sae.info})
    return [weights, folder / CONFIG]
