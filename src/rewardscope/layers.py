"""Lists of layers as text: `all`, `15`, `0-27`, `0,3,5-7`.

Layer l is the residual stream after decoder block l, from 0.
"""

from collections.abc import Sequence

from rewardscope.errors import ConfigError

MOST_LAYERS = 10_000
"""No model has so many; what is beyond is refused before a list of layers is made."""
MOST_BY_LAYER = 2**26
_LONGEST = 12  # digits


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
    number = _whole(value.strip())
    if number is None or not 1 <= number <= MOST_BY_LAYER:
        raise ConfigError(
            f"{flag} {text[:80]}: {value.strip()[:40]!r} is no number from 1 to {MOST_BY_LAYER};"
            " write 32, 32,64 or 0-3:32,4-7:64"
        )
    return number


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
        low, high = _whole(first), _whole(last if dash else first)
        if low is None or high is None or max(low, high) >= MOST_LAYERS:
            raise ConfigError(
                f"--layers {text[:80]}: {part[:40]!r} is no layer below {MOST_LAYERS}; write all,"
                " 15, 0-27 or 0,3,5-7"
            )
        if low > high:
            raise ConfigError(f"--layers {text}: {part!r} runs backwards; write {high}-{low}")
        layers.update(range(low, high + 1))
    return tuple(sorted(layers))


def _whole(text: str) -> int | None:
    """Return a whole number of few digits, None where the text is none."""
    return int(text) if text.isdecimal() and len(text) <= _LONGEST else None
