"""How many features favour reasoning, on all rows and under each control, beside what the same
comparison finds in baselines: the summary of `feature-diff`.

Intervals are Wilson's over features, as if these were independent. Features that fire together are
not, so the intervals are too narrow; what permuted problems give says what chance can do.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rewardscope.errors import BadRecord
from rewardscope.features.categories import CATEGORIES
from rewardscope.storage.files import sha256
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import read_csv_as

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.features.diff import Comparison

ALL, FORMATTING_SHARE = "all", "formatting"


class DiffShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: of `n` features, `count` favour reasoning (`category` all), or of `n` that do,
    `count` fire on a category: `formatting` where more than half of the activation is on
    whitespace, punctuation and Unicode symbols, else the category with most of it.

    source: sae; random (directions that fire as often); frozen (the SAE of --baseline); permuted-1
    and so on (sides of problems drawn anew). control: none, or one of CONTROLS. group: all, stable
    or unstable features. kept_...: share of the rows of a side that the control compares.
    significant: features with a q value up to --fdr on either side, whatever the ratio of their
    rates. by_chance: share of features that shuffled twins would call stable.
    """

    layer: int
    reasoning: str
    instruct: str
    source: str
    control: str
    group: str
    category: str
    n: int
    count: int
    share: float | None
    low: float | None
    high: float | None
    significant: int | None = None
    kept_reasoning: float
    kept_instruct: float
    by_chance: float | None = None


def shares_file(part: Path) -> Path:
    """Return where the summary of a part lies."""
    return part.with_name(f"{part.stem}.shares.csv")


def read_shares(parts: Sequence[Path]) -> list[DiffShare]:
    """Read the summaries of some parts; of parts of older versions there are none.

    Raises: BadRecord.
    """
    return [row for part in parts if shares_file(part).is_file() for row in _read_shares(part)]


def _read_shares(part: Path) -> list[DiffShare]:
    path = shares_file(part)
    if sha256(path) != read_finished(part).outputs.get(path.name):
        raise BadRecord(f"{path} is not what was written; re-run invoke feature-diff with --force")
    return read_csv_as(path, DiffShare)


def share_rows(
    compared: "Mapping[str, Comparison]",
    verdicts: "Mapping[str, np.ndarray]",
    mass_share_FC: "np.ndarray",
    *,
    place: Mapping[str, Any],
    kept: Mapping[str, tuple[float, float]],
    fdr: float,
    groups: "Mapping[str, np.ndarray] | None" = None,
    by_chance: float | None = None,
) -> list[DiffShare]:
    """Return the rows of one source: layer, data sets and source are given by `place`, masks [F] of
    features by `groups`.
    """
    from rewardscope.features.controls import NONE
    from rewardscope.features.diff import formatting_share

    top_F, formatting_F = mass_share_FC.argmax(axis=1), formatting_share(mass_share_FC) > 0.5
    kinds = {FORMATTING_SHARE: formatting_F}
    kinds |= {name: top_F == code for code, name in enumerate(CATEGORIES)}
    fires_F, rows = compared[NONE].fires_F, []
    for group, inside_F in {ALL: fires_F, **(groups or {})}.items():
        of_group = fires_F & inside_F
        for control, verdict_F in verdicts.items():
            favours_F = of_group & (verdict_F > 0)
            significant = int((of_group & (compared[control].q_F <= fdr)).sum())
            common = {**place, "control": control, "group": group, "by_chance": by_chance}
            common |= dict(zip(("kept_reasoning", "kept_instruct"), kept[control], strict=True))
            n, n_favour = int(of_group.sum()), int(favours_F.sum())
            rows.append(_row(n_favour, n, common | {"category": ALL, "significant": significant}))
            rows += [
                _row(int((favours_F & kind_F).sum()), n_favour, common | {"category": kind})
                for kind, kind_F in kinds.items()
            ]
    return rows


def _row(count: int, n: int, fields: Mapping[str, Any]) -> DiffShare:
    from rewardscope.statistics.intervals import wilson

    found = wilson(count, n) if n else None
    return DiffShare(
        n=n,
        count=count,
        share=found and found.value,
        low=found and found.low,
        high=found and found.high,
        **fields,
    )
