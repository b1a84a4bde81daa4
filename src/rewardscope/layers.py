"""Lists of layers as text: `all`, `15`, `0-27`, `0,3,5-7`. Layer l is the residual stream after decoder block l, from 0."""

from collections.abc import Sequence

from rewardscope.errors import ConfigError


def check_layers(text: str) -> None:
    """Check the form of a list of layers before any model is known. Raises: ConfigError."""
    _read(text)


def parse_layers(text: str, n_layers: int) -> tuple[int, ...]:
    """Return the layers that `text` names in a model of `n_layers`, ascending, each once. Raises: ConfigError."""
    layers = _read(text)
    if layers is None:
        return tuple(range(n_layers))
    if layers[-1] >= n_layers:
        raise ConfigError(f"--layers {text}: layer {layers[-1]} is out of range; the model has layers 0-{n_layers - 1}")
    return layers


def pick_layers(text: str, captured: Sequence[int]) -> tuple[int, ...]:
    """Return the layers that `text` names among those that `save-acts` captured; `all` is every one. Raises: ConfigError."""
    layers = _read(text)
    if layers is None:
        return tuple(captured)
    for layer in layers:
        if layer not in captured:
            raise ConfigError(f"--layers {text}: layer {layer} was not captured; captured are {show_layers(captured)}")
    return layers


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
            raise ConfigError(f"--layers {text}: {part!r} is no layer; write all, 15, 0-27 or 0,3,5-7")
        low, high = int(first), int(last or first)
        if low > high:
            raise ConfigError(f"--layers {text}: {part!r} runs backwards; write {high}-{low}")
        layers.update(range(low, high + 1))
    return tuple(sorted(layers))
