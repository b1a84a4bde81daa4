"""The tables of `feature-diff`: one row a feature, layer and pair of data sets, written in parts
and read back as one.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rewardscope.errors import MissingInput
from rewardscope.features.categories import CATEGORIES
from rewardscope.storage.files import manifest_of
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import columns_of, read_csv_as

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.features.diff import Comparison


class FeatureDiff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: a feature on a reasoning and on an instruct data set.

    rate: share of rows where it fires; mean: activation over all rows; difference: of the rates,
    with its 95 % interval, None where too few problems say anything;
    log2_ratio: of the rates; effect_h: Cohen's h; favours: reasoning, instruct or neither;
    share_...: of its activation, by the category of the token.
    """

    layer: int
    reasoning: str
    instruct: str
    feature: int
    rate_reasoning: float
    rate_instruct: float
    mean_reasoning: float
    mean_instruct: float
    difference: float
    low: float | None
    high: float | None
    log2_ratio: float
    effect_h: float
    p_value: float
    q_value: float
    favours: str
    n_rows_reasoning: int
    n_rows_instruct: int
    n_problems_reasoning: int
    n_problems_instruct: int
    top_category: str
    share_formatting: float
    share_whitespace: float
    share_punctuation: float
    share_unicode: float
    share_digit: float
    share_operator: float
    share_word: float
    share_markup: float
    share_step_tag: float


FIELDS = columns_of(FeatureDiff)


def diff_rows(
    comparison: "Comparison", favoured_F: "np.ndarray", *, layer: int, reasoning: str, instruct: str
) -> list[FeatureDiff]:
    """Return a row for every feature that fires on either side; the first side of `comparison` is
    the reasoning one.
    """
    from rewardscope.features.diff import formatting_share, top_category

    c, rows = comparison, []
    formatting_F, top_F = formatting_share(c.mass_share_FC), top_category(c.mass_share_FC)
    for feature in c.fires_F.nonzero()[0].tolist():
        shares = {
            f"share_{name}": _short(share)
            for name, share in zip(CATEGORIES, c.mass_share_FC[feature], strict=True)
        }
        row = FeatureDiff(
            layer=layer,
            reasoning=reasoning,
            instruct=instruct,
            feature=feature,
            rate_reasoning=_short(c.rates_2F[0, feature]),
            rate_instruct=_short(c.rates_2F[1, feature]),
            mean_reasoning=_short(c.means_2F[0, feature]),
            mean_instruct=_short(c.means_2F[1, feature]),
            difference=_short(c.difference_F[feature]),
            low=_short_or_none(float(c.low_F[feature])),
            high=_short_or_none(float(c.high_F[feature])),
            log2_ratio=_short(c.log2_ratio_F[feature]),
            effect_h=_short(c.effect_F[feature]),
            p_value=_short(c.p_F[feature]),
            q_value=_short(c.q_F[feature]),
            favours=("neither", "reasoning", "instruct")[favoured_F[feature]],
            n_rows_reasoning=c.n_rows[0],
            n_rows_instruct=c.n_rows[1],
            n_problems_reasoning=c.n_problems[0],
            n_problems_instruct=c.n_problems[1],
            top_category=top_F[feature],
            share_formatting=_short(formatting_F[feature]),
            **shares,
        )
        rows.append(row)
    return rows


def find_parts(folder: Path) -> list[Path]:
    """Return the finished parts of one division of the work, in order; none where there is no part
    at all.

    Where a folder holds several divisions, the last one that is complete counts. Raises:
    MissingInput that names the parts that are not finished, or that two parts do not belong
    together.
    """
    divisions: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.glob("part_*_of_*.csv")):
        if manifest_of(path).is_file():
            settings = read_finished(path).settings
            divisions.setdefault(settings["total"], {})[settings["part"]] = path
    if not divisions:
        return []
    complete = [parts for total, parts in divisions.items() if len(parts) == total]
    if not complete:
        total, parts = max(divisions.items(), key=lambda division: len(division[1]) / division[0])
        absent = ",".join(str(part) for part in range(1, total + 1) if part not in parts)
        raise MissingInput(
            f"{folder}: parts {absent} of {total} are not there; run invoke feature-diff --part P"
            f" --total {total} for each"
        )
    chosen = max(
        complete, key=lambda parts: max(read_finished(path).created for path in parts.values())
    )
    first, *others = (_origin(path) for path in chosen.values())
    if any(other != first for other in others):
        raise MissingInput(
            f"{folder}: its parts were made from different inputs or settings; run invoke"
            " feature-diff again for each part"
        )
    return [chosen[part] for part in sorted(chosen)]


def merge_parts(folder: Path) -> list[FeatureDiff]:
    """Read the rows of all parts.

    Raises: MissingInput where a part is not finished, or there is none.
    """
    parts = find_parts(folder)
    if not parts:
        raise MissingInput(f"{folder} has no results; run invoke feature-diff")
    return read_parts(parts)


def read_parts(parts: Sequence[Path]) -> list[FeatureDiff]:
    """Read the rows of these tables, in order. Raises: BadRecord."""
    return [row for path in parts for row in read_csv_as(path, FeatureDiff)]


def _origin(path: Path) -> tuple[dict[str, Any], list[str]]:
    manifest = read_finished(path)
    settings = {name: value for name, value in manifest.settings.items() if name != "part"}
    return settings, sorted(entry.digest for entry in manifest.inputs.values())


def _short(value: Any) -> float:
    """Keep six digits: a table is read by people, and is a third of the size."""
    return float(f"{value:.6g}")


def _short_or_none(value: float) -> float | None:
    return None if math.isnan(value) else _short(value)
