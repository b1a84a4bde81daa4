"""Lists of layers as text: `all`, `15`, `0-27`, `0,3,5-7`.

Layer l is the residual stream after decoder block l, from 0.
"""

from collections.abc import Sequence

from rewardscope.errors import ConfigError


def check_layers(text: str) -> None:
    """Check the form of a list of layers before any model is known. Raises: ConfigError."""
    _read(text)


def parse_layers(text: str, n_layers: int) -> tuple[int, ...]:
    """Return the layers that `text` names in a model of `n_layers`, ascending, each once.

    Raises: ConfigError.
    """
    layers = _read(text)
    if layers is None:
        return tuple(range(n_layers))
    if layers[-1] >= n_layers:
        raise ConfigError(
            f"--layers {text}: layer {layers[-1]} is out of range; the model has layers"
            f" 0-{n_layers - 1}"
        )
    return layers


def pick_layers(text: str, captured: Sequence[int]) -> tuple[int, ...]:
    """Return the layers that `text` names among those that `save-acts` captured;

    `all` is every one. Raises: ConfigError.
    """
    layers = _read(text)
    if layers is None:
        return tuple(captured)
    for layer in layers:
        if layer not in captured:
            raise ConfigError(
                f"--layers {text}: layer {layer} was not captured; captured are"
                f" {show_layers(captured)}"
            )
    return layers


def parse_by_layer(flag: str, text: str, layers: Sequence[int]) -> dict[int, int]:
    """Return a number for each layer from `32` (all), `32,64` (one a layer, in order) or
    `0-3:32,4-7:64`. Raises: ConfigError.
    """
    parts = text.split(",")
    if ":" not in text:
        values = parts * len(layers) if len(parts) == 1 else parts
        if len(values) != len(layers):
            raise ConfigError(f"{flag} {text}: {len(values)} numbers for {len(layers)} layers")
        return {
            layer: _read_number(flag, text, value)
            for layer, value in zip(layers, values, strict=True)
        }
    found: dict[int, int] = {}
    for part in parts:
        named, colon, value = part.partition(":")
        if not colon:
            raise ConfigError(
                f"{flag} {text}: {part!r} names no layers; write 32, or 0-3:32,4-7:64"
            )
        found |= dict.fromkeys(_read(named) or layers, _read_number(flag, text, value))
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise ConfigError(f"{flag} {text}: nothing for layers {show_layers(missing)}")
    return {layer: found[layer] for layer in layers}


def _read_number(flag: str, text: str, value: str) -> int:
    if not value.strip().isdecimal() or int(value) < 1:
        raise ConfigError(
            f"{flag} {text}: {value.strip()!r} is no number of at least 1; write 32, 32,64 or"
            " 0-3:32,4-7:64"
        )
    return int(value)


def show_layers(layers: Sequence[int]) -> str:
    """Write layers in the short form that `parse_layers` reads."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _read(text: str) -> tuple[int, ...] | None:
    """Return the layers that `text` lists, ascending, or None for `all`."""
    if text == "all":
        return None
    layers: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(
                f"--layers {text}: {part!r} is no layer; write all, 15, 0-27 or 0,3,5-7"
            )
        low, high = int(first), int(last or first)
        if low > high:
            raise ConfigError(f"--layers {text}: {part!r} runs backwards; write {high}-{low}")
        layers.update(range(low, high + 1))
    return tuple(sorted(layers))
