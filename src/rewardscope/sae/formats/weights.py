"""From the weights of any layout to an `Sae`, and the shares of it that need no other library."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardscope.errors import BadRecord
from rewardscope.sae.model.inference import Sae
from rewardscope.storage.files import replacing

# Shape legend: D width, F features.
State = dict[str, Tensor]
# of nn.Linear, which holds [outputs, inputs]
_TRANSPOSED = {"encoder.weight": "W_enc", "decoder.weight": "W_dec"}
_RENAMED = {
    "encoder.bias": "b_enc",
    "bias": "b_dec",
    "decoder_bias": "b_dec",
    "decoder.bias": "b_dec",
}


def read_weights(path: Path) -> State:
    """Read a safetensors file or a pickled state dict, the latter without running its code.

    Raises: BadRecord.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise BadRecord(f"{path} is damaged ({error}); re-run what made it") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # it may fail in any way on a file that is none
        raise BadRecord(f"{path} is no plain state dict ({str(error).splitlines()[0]})") from None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise BadRecord(f"{path} holds a {type(state).__name__}; a dict of tensors is needed")
    return {
        name: value if isinstance(value, Tensor) else torch.tensor(value)
        for name, value in state.items()
        if _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor | int | float)


def write_weights(path: Path, state: State) -> Path:
    """Write tensors to a safetensors file, or to a pickled state dict where the name ends with .pt;
    return the path.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with replacing(path) as temporary:
        if path.suffix == ".pt":
            torch.save(plain, temporary)
        else:
            save_tensors(plain, temporary)
    return path


def save_tensors(tensors: State, path: Path, *, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. Raises: OSError, where the library has an error of its own."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None


def build_sae(
    state: State,
    where: Path,
    *,
    layer: int,
    activation: str,
    info: dict[str, Any],
    k: int | None = None,
    threshold: Tensor | float | None = None,
    subtracts_b_dec: bool = True,
) -> Sae:
    """Build an SAE from a state dict with the names of SAELens, sparsify or dictionary_learning.

    Our encoder subtracts the decoder bias; where the original does not, b_enc takes it up. Raises:
    BadRecord that names `where` for a tensor that is missing or does not fit.
    """
    named = _named(state)
    need(named, where, "W_enc", "W_dec", "b_dec", "b_enc")
    _check_finite(named, where)
    if named["W_enc"].ndim != 2:
        raise BadRecord(f"{where}: W_enc is {tuple(named['W_enc'].shape)}, no matrix")
    width, n_features = named["W_enc"].shape
    for name, shape in {
        "b_enc": (n_features,),
        "W_dec": (n_features, width),
        "b_dec": (width,),
    }.items():
        if tuple(named[name].shape) != shape:
            raise BadRecord(
                f"{where}: {name} is {tuple(named[name].shape)}, W_enc is {(width, n_features)}"
            )
    if k is not None and not 0 < k <= n_features:
        raise BadRecord(f"{where}: k is {k}, of {n_features} features")
    b_enc_F = (
        named["b_enc"] if subtracts_b_dec else named["b_enc"] + named["b_dec"] @ named["W_enc"]
    )
    threshold_F = None if threshold is None else _thresholds(threshold, n_features, where)
    return Sae(
        W_enc_DF=named["W_enc"],
        b_enc_F=b_enc_F,
        W_dec_FD=named["W_dec"],
        b_dec_D=named["b_dec"],
        k=k,
        threshold_F=threshold_F,
        activation=activation,
        layer=layer,
        info=info,
    )


def _check_finite(named: State, where: Path) -> None:
    for name, tensor in named.items():
        wrong = int((~tensor.isfinite()).sum())
        if wrong and name != "threshold":
            raise BadRecord(
                f"{where}: {wrong} of {tensor.numel()} values of {name} are NaN or infinite; train"
                " it again, or get it again"
            )


def _thresholds(threshold: Tensor | float, n_features: int, where: Path) -> Tensor:
    """Return the threshold of each feature; an infinite one means that it never fires."""
    given = torch.as_tensor(threshold, dtype=torch.float32)
    if given.numel() not in (1, n_features):
        raise BadRecord(f"{where}: {given.numel()} thresholds for {n_features} features")
    if given.isnan().any():
        raise BadRecord(f"{where}: a threshold is NaN; train it again, or get it again")
    return given.reshape(-1).expand(n_features).clone()


def need(state: State, where: Path, *names: str) -> None:
    """Raises: BadRecord for a tensor that is not there."""
    missing = next((name for name in names if name not in state), None)
    if missing is not None:
        raise BadRecord(
            f"{where}: {missing} is not there; found {', '.join(sorted(state)) or 'nothing'}"
        )


def whole_number(state: State, name: str, where: Path) -> int:
    """Return a number that stands among the weights. Raises: BadRecord where it is none."""
    tensor = state[name]
    if tensor.numel() != 1 or not tensor.isfinite().all() or float(tensor) != int(tensor):
        raise BadRecord(f"{where}: {name} is no whole number")
    return int(tensor)


def _named(state: State) -> State:
    named: State = {}
    for name, tensor in state.items():
        if name in _TRANSPOSED:
            named[_TRANSPOSED[name]] = tensor.float().T.contiguous()
        else:
            named[_RENAMED.get(name, name)] = tensor.float()
    return named


def ungate(state: State, where: Path, *, gate: str, magnitude: str) -> tuple[State, Tensor]:
    """Return a gated SAE, whose two encoders share directions, as a JumpReLU one: its state and
    thresholds.

    A feature fires where x W + gate > 0 and has the value exp(r) x W + magnitude, so that value
    must be above magnitude - exp(r) gate. Source: arXiv 2404.16014 eq. 7 and appendix E.
    Raises: BadRecord that names `where` for a tensor that is missing.
    """
    encoder = "encoder.weight" if "encoder.weight" in state else "W_enc"
    need(state, where, encoder, "r_mag", gate, magnitude)
    size_F = state["r_mag"].float().exp()
    W_enc = (
        state["encoder.weight"].float().T if "encoder.weight" in state else state["W_enc"].float()
    )
    kept = {
        name: tensor
        for name, tensor in state.items()
        if name not in ("encoder.weight", "W_enc", "r_mag", gate, magnitude)
    }
    threshold_F = state[magnitude].float() - size_F * state[gate].float()
    return kept | {"W_enc": W_enc * size_F, "b_enc": state[magnitude].float()}, threshold_F
