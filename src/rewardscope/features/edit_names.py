"""What may become of the activation of a feature."""

from typing import Literal, NamedTuple, get_args

from rewardscope.errors import ConfigError

EditKind = Literal["ablate", "mean", "resample", "scale"]


class FeatureEdit(NamedTuple):
    """What becomes of an activation, where the feature fires.

    ablate: 0. mean: the feature's mean activation over the tokens where it fires. resample: one of
    its activations in other problems, drawn by the seed; where there is none it stays. scale: times
    `factor`.
    """

    kind: EditKind
    factor: float = 0.0

    def __str__(self) -> str:
        return f"scale={self.factor:g}" if self.kind == "scale" else self.kind


def parse_edit(text: str) -> FeatureEdit:
    """Return the edit that a flag names. Raises: ConfigError."""
    kind, equals, factor = text.partition("=")
    if kind not in get_args(EditKind) or (kind == "scale") != bool(equals):
        raise ConfigError(f"--edit {text}: it is ablate, mean, resample or scale=FACTOR")
    if not equals:
        return FeatureEdit(kind)  # pyright: ignore[reportArgumentType]
    try:
        return FeatureEdit("scale", float(factor))
    except ValueError:
        raise ConfigError(f"--edit {text}: {factor!r} is no number") from None
