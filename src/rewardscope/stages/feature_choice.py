"""Which features a flag names: ids, a table of them, or those of which something holds."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec

from rewardscope.errors import ConfigError, MissingInput, UnknownName
from rewardscope.features.diff_table import read_parts
from rewardscope.features.label_rules import LABELS
from rewardscope.features.labels_table import MIXED
from rewardscope.settings import Settings
from rewardscope.stage import find_required
from rewardscope.storage.tables import read_csv_as

Side = Literal["reasoning", "instruct", "neither"]
CATEGORIES = (*LABELS, MIXED)


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a table of features; its other columns are not looked at."""

    feature: int
    layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Features by id, or all of which the conditions hold."""

    ids: tuple[int, ...] = ()
    table: str | None = None
    favours: str | None = None
    category: str | None = None

    def named(self, settings: Settings, *, layer: int) -> "Choice":
        """Return the choice with the features of its table, if it has one.

        Raises: MissingInput; BadRecord; ConfigError where the table has none of the layer.
        """
        if self.table is None:
            return self
        path = find_required(self.table, settings.data_dir, "feature-diff")
        rows = [r for r in read_csv_as(path, _Named) if r.layer is None or r.layer == layer]
        if not rows:
            raise ConfigError(f"--features @{self.table}: it has no feature of layer {layer}")
        ids = tuple(dict.fromkeys(row.feature for row in rows))
        return dataclasses.replace(self, ids=ids, table=None)

    def pick(
        self, *, layer: int, n_features: int, categories: Sequence[str], parts: Sequence[Path]
    ) -> list[int]:
        """Return the features, those of a table of feature-diff with the largest difference first.

        Raises: ConfigError for an id that the SAE does not have; MissingInput where none is left.
        """
        chosen = list(self.ids or range(n_features))
        wrong = [feature for feature in chosen if not 0 <= feature < n_features]
        if wrong:
            raise ConfigError(
                f"--features: the SAE of layer {layer} has no feature {wrong[0]}, only 0 to"
                f" {n_features - 1}"
            )
        if self.favours:
            largest: dict[int, float] = {}
            for row in read_parts(parts):
                if row.layer == layer and row.favours == self.favours:
                    size = max(largest.get(row.feature, 0.0), abs(row.difference))
                    largest[row.feature] = size
            own = set(chosen)
            chosen = [f for f in sorted(largest, key=lambda f: -largest[f]) if f in own]
        if self.category:
            chosen = [feature for feature in chosen if categories[feature] == self.category]
        if not chosen:
            raise MissingInput(f"--features: no feature of layer {layer} is chosen by it")
        return chosen


def parse_choice(text: str) -> Choice:
    """Return what --features says: `1,2,3`, `@table.csv`, `favours=SIDE`, `category=NAME`, or the
    last two with a comma between. Raises: ConfigError; UnknownName.
    """
    if text.startswith("@"):
        return Choice(table=text[1:])
    ids, conditions = [], dict[str, str]()
    for part in (piece.strip() for piece in text.split(",") if piece.strip()):
        name, equals, value = part.partition("=")
        if equals:
            conditions[name] = value
        elif part.isdecimal():
            ids.append(int(part))
        else:
            raise ConfigError(
                f"--features {text}: {part!r} is no id; pass 1,2,3, @FILE.csv, favours=SIDE or"
                " category=NAME"
            )
    known = {"favours": get_args(Side), "category": CATEGORIES}
    for name, value in conditions.items():
        if name not in known:
            raise UnknownName("condition of --features", name, known)
        if value not in known[name]:
            raise UnknownName(f"{name} of --features", value, known[name])
    if not ids and not conditions:
        raise ConfigError("--features is empty; name at least one")
    return Choice(
        ids=tuple(dict.fromkeys(ids)),
        favours=conditions.get("favours"),
        category=conditions.get("category"),
    )
