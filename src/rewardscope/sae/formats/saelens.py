"""SAELens 6: `cfg.json` and `sae_weights.safetensors`, W_enc [D, F] and W_dec [F, D].

Reads standard, gated, topk, jumprelu and (training checkpoints) batchtopk and matryoshka_batchtopk;
norms of the decoder and the scale of the input are folded in. Writes topk and jumprelu, the form in
which SAELens itself saves BatchTopK.
"""

from pathlib import Path
from typing import Any

from rewardscope.errors import BadRecord
from rewardscope.sae.formats import CONFIG, SAELENS_WEIGHTS, Found
from rewardscope.sae.formats.weights import State, build_sae, read_weights, ungate, write_weights
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import read_json

_TRAINED: dict[str, str] = {
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "matryoshka",
    "gated": "gated",
    "standard": "standard",
}
_SCALER = "activation_scaler.json"


def read(found: Found) -> Sae:
    """Read one SAE.

    Raises: BadRecord for an architecture or a normalisation that cannot be folded into the weights.
    """
    config = read_json(found.weights.parent / CONFIG)
    architecture = config.get("architecture", "standard")
    state = _folded(read_weights(found.weights), config, found.weights)
    metadata = config.get("metadata", {})
    k, threshold = None, None
    if architecture == "topk":
        k = int(config["k"])
    elif architecture == "jumprelu":
        threshold = state.get("threshold")
    elif architecture in ("batchtopk", "matryoshka_batchtopk"):
        threshold = state.get("topk_threshold")
    elif architecture == "gated":
        state, threshold = ungate(state, gate="b_gate", magnitude="b_mag")
    elif architecture == "standard":
        threshold = 0.0
    if k is None and threshold is None:
        raise BadRecord(
            f"{found.weights}: architecture {architecture!r} cannot be read; topk, jumprelu,"
            " batchtopk, gated, standard can"
        )
    activation = (
        "topk"
        if k
        else _TRAINED.get(metadata.get("training_architecture") or architecture, "jumprelu")
    )
    return build_sae(
        state,
        found.weights,
        layer=found.layer,
        activation=activation,
        k=k,
        threshold=threshold,
        subtracts_b_dec=config.get("apply_b_dec_to_input", True),
        info={"imported_from": "saelens", **metadata},
    )


def _folded(state: State, config: dict[str, Any], where: Path) -> State:
    """Return the state with the decoder's norms, then the scale of the input, moved into the
    weights.
    """
    if config.get("reshape_activations", "none") != "none":
        raise BadRecord(
            f"{where}: it reshapes its input ({config['reshape_activations']}), so it is not of the"
            " residual stream"
        )
    if config.get("rescale_acts_by_decoder_norm"):
        norm_F = state["W_dec"].norm(dim=1).clamp_min(1e-8)
        state = state | {
            "W_enc": state["W_enc"] * norm_F,
            "b_enc": state["b_enc"] * norm_F,
            "W_dec": state["W_dec"] / norm_F[:, None],
        }
    normalisation = config.get("normalize_activations", "none")
    if normalisation == "none":
        return state
    scaler = where.parent / _SCALER
    scale = read_json(scaler).get("scaling_factor") if scaler.is_file() else None
    if normalisation != "expected_average_only_in" or not scale:
        raise BadRecord(
            f"{where}: normalize_activations {normalisation!r} is not folded into the weights, and"
            f" no {_SCALER} gives a factor"
        )
    return state | {
        "W_enc": state["W_enc"] * scale,
        "W_dec": state["W_dec"] / scale,
        "b_dec": state["b_dec"] / scale,
    }


def write(folder: Path, sae: Sae) -> list[Path]:
    """Write one SAE so that SAELens reads it with `SAE.load_from_disk`."""
    state = {
        "W_enc": sae.W_enc_DF,
        "b_enc": sae.b_enc_F,
        "W_dec": sae.W_dec_FD,
        "b_dec": sae.b_dec_D,
    }
    config: dict[str, Any] = {
        "architecture": "topk" if sae.k else "jumprelu",
        "d_in": sae.width,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            **sae.info,
            "model_name": sae.info.get("prm"),
            "hook_name": f"blocks.{sae.layer}.hook_resid_post",
            "prepend_bos": False,
            "training_architecture": sae.activation,
        },
    }
    if sae.threshold_F is None:
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    else:
        state["threshold"] = sae.threshold_F.clamp_min(0)
    (folder / CONFIG).unlink(missing_ok=True)
    weights = write_weights(folder / SAELENS_WEIGHTS, state)
    write_json(folder / CONFIG, config)
    return [weights, folder / CONFIG]
