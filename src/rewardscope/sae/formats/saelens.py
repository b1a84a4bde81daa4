"""SAELens 6: `cfg.json` and `sae_weights.safetensors`, W_enc [D, F] and W_dec [F, D].

Reads standard, gated, topk, jumprelu and (training checkpoints) batchtopk and matryoshka_batchtopk;
norms of the decoder and the scale of the input are folded in. Writes topk and jumprelu, the form in
which SAELens itself saves BatchTopK.
"""

from pathlib import Path
from typing import Any

import msgspec
import torch

from rewardscope.errors import BadRecord
from rewardscope.sae.formats import CONFIG, SAELENS_WEIGHTS, Found
from rewardscope.sae.formats.configs import SaelensConfig, read_config, read_settings, refuse
from rewardscope.sae.formats.weights import (
    State,
    build_sae,
    need,
    read_weights,
    ungate,
    write_weights,
)
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.files import write_json

_TRAINED: dict[str, str] = {
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "matryoshka",
    "gated": "gated",
    "standard": "standard",
}
_SCALER, _AVERAGE = "activation_scaler.json", "expected_average_only_in"
_FACTORS = ("finetuning_scaling_factor", "scaling_factor")


class _Scaler(msgspec.Struct, frozen=True):
    scaling_factor: float | None = None


def read(found: Found) -> Sae:
    """Read one SAE.

    Raises: BadRecord for an architecture, an activation or a normalisation that cannot be folded
    into the weights.
    """
    path = found.weights.parent / CONFIG
    config, raw = read_config(path, SaelensConfig), read_settings(path)
    state = _folded(read_weights(found.weights), config, found.weights)
    architecture, k, threshold = _architecture(config, path), None, None
    if architecture == "topk":
        k = _k(config, path)
    elif architecture == "jumprelu":
        threshold = state.get("threshold")
    elif architecture in ("batchtopk", "matryoshka_batchtopk"):
        threshold = state.get("topk_threshold")
    elif architecture == "gated":
        state, threshold = ungate(state, found.weights, gate="b_gate", magnitude="b_mag")
    elif architecture == "standard":
        threshold = 0.0
    if k is None and threshold is None:
        raise BadRecord(
            f"{found.weights}: architecture {architecture!r} cannot be read; topk, jumprelu,"
            " batchtopk, gated, standard can"
        )
    trained = config.metadata.training_architecture or architecture
    return build_sae(
        state,
        found.weights,
        layer=found.layer,
        activation="topk" if k else _TRAINED.get(trained, "jumprelu"),
        k=k,
        threshold=threshold,
        subtracts_b_dec=config.apply_b_dec_to_input,
        info={"imported_from": "saelens", **raw.get("metadata", {})},
    )


def _architecture(config: SaelensConfig, path: Path) -> str:
    """Return what the SAE is: before version 6, `standard` with the activation topk is TopK."""
    activation = config.activation_fn or config.activation_fn_str or "relu"
    if activation == "topk" and config.architecture in ("standard", "topk"):
        return "topk"
    if activation != "relu":
        refuse(path, "activation_fn", activation, f"only relu with {config.architecture!r}")
    return config.architecture


def _k(config: SaelensConfig, path: Path) -> int:
    arguments = config.activation_fn_kwargs
    k = arguments.k if arguments and arguments.k is not None else config.k
    if k is None or k != int(k):
        raise BadRecord(f"{path}: k is {k}, and a topk SAE has a whole number")
    return int(k)


def _folded(state: State, config: SaelensConfig, where: Path) -> State:
    """Return the state with the factors of features, the decoder's norms, then the scale of the
    input, moved into the weights.
    """
    if config.reshape_activations not in (None, "none"):
        raise BadRecord(
            f"{where}: it reshapes its input ({config.reshape_activations}), so it is not of the"
            " residual stream"
        )
    need(state, where, "W_enc", "W_dec", "b_dec")
    said = (config.d_in, config.d_sae)
    if None not in said and tuple(state["W_enc"].shape) != said:
        raise BadRecord(f"{where}: W_enc is {tuple(state['W_enc'].shape)}, {CONFIG} says {said}")
    state = _with_factors(state, config, where)
    if config.rescale_acts_by_decoder_norm:
        need(state, where, "b_enc")
        norm_F = state["W_dec"].norm(dim=1).clamp_min(1e-8)
        state = state | {
            "W_enc": state["W_enc"] * norm_F,
            "b_enc": state["b_enc"] * norm_F,
            "W_dec": state["W_dec"] / norm_F[:, None],
        }
    scale = _input_scale(config, where)
    if scale is None:
        return state
    return state | {
        "W_enc": state["W_enc"] * scale,
        "W_dec": state["W_dec"] / scale,
        "b_dec": state["b_dec"] / scale,
    }


def _with_factors(state: State, config: SaelensConfig, where: Path) -> State:
    """Move what a value is multiplied with before it is decoded (`finetuning_scaling_factor`) into
    the decoder.
    """
    names = [name for name in _FACTORS if name in state]
    rest = {name: tensor for name, tensor in state.items() if name not in _FACTORS}
    if not names:
        if config.finetuning_scaling_factor:
            need(state, where, _FACTORS[0])
        return rest
    factor_F = state[names[0]].float()
    if not config.finetuning_scaling_factor:
        if not torch.allclose(factor_F, torch.ones_like(factor_F)):
            raise BadRecord(
                f"{where}: it has a {names[0]}, and {CONFIG} says that none is used; set"
                " finetuning_scaling_factor there"
            )
        return rest
    if factor_F.shape != (len(state["W_dec"]),):
        raise BadRecord(f"{where}: {names[0]} is {tuple(factor_F.shape)}, one a feature is needed")
    return rest | {"W_dec": state["W_dec"].float() * factor_F[:, None]}


def _input_scale(config: SaelensConfig, where: Path) -> float | None:
    """Return the factor of the input that is not folded into the weights yet."""
    given = config.normalize_activations
    form = {None: "none", False: "none", True: _AVERAGE}.get(given, given)
    if form == "none":
        return None
    scaler = where.parent / _SCALER
    scale = read_config(scaler, _Scaler).scaling_factor if scaler.is_file() else None
    if form != _AVERAGE or scale is None:
        raise BadRecord(
            f"{where}: normalize_activations {form!r} is not folded into the weights, and"
            f" no {_SCALER} gives a factor"
        )
    if not scale > 0:
        raise BadRecord(f"{scaler}: scaling_factor is {scale}, and it must be above 0")
    return scale


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
