"""Matryoshka: TopK whose first features alone have to reconstruct too, and the first of those.

The losses of nested prefixes of the dictionary are added up. Source: arXiv 2503.17547 section 3.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardscope.errors import ConfigError
from rewardscope.sae.train.activations.base import Activation
from rewardscope.stage import option

if TYPE_CHECKING:
    from rewardscope.sae.train.layer import LayerSae
    from rewardscope.sae.train.pickers import Picker
    from rewardscope.sae.train.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class MatryoshkaFlags:
    """The flag of Matryoshka. Raises: ConfigError for shares that do not rise to 1."""

    prefixes: tuple[float, ...] = option(
        (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
        help="of matryoshka: nested dictionaries, as shares of the features",
    )

    def __post_init__(self) -> None:
        if list(self.prefixes) != sorted({*self.prefixes, 1.0}) or self.prefixes[0] <= 0:
            raise ConfigError(
                f"--prefixes {','.join(map(str, self.prefixes))}: they must rise from above 0 to 1"
            )


@dataclass(frozen=True, kw_only=True)
class Matryoshka(MatryoshkaFlags, Activation):
    """The k largest of each row, in training and after."""

    name = "matryoshka"

    def picker(self, layer: "LayerSae", n_rows: int, *, ranks: "Ranks") -> "Picker":
        from rewardscope.sae.train.pickers import TopOfRow

        return TopOfRow(layer.k)

    def prefix_ends(self, n_features: int) -> tuple[int, ...]:
        return tuple(max(1, round(share * n_features)) for share in self.prefixes)
