"""The tables of `feature-diff`: one row a feature, layer and pair of data sets, written in parts
and read back as one. Nothing heavy is imported before a table is read.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rewardscope.errors import MissingInput
from rewardscope.storage.files import manifest_of
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import read_csv_as

_PART = re.compile(r"part_\d+_of_\d+\.(csv|parquet)")
CONTROLS: tuple[str, ...] = ("token", "category", "position", "solved", "shared", "all")
"""What rows of the two sides are matched on: the token; its category; the place in the trace and
the number of steps; right traces of problems that both sides solved; tokens that both sides have;
token, place and solved problems at once.
"""


class FeatureDiff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row: a feature on a reasoning and on an instruct data set.

    rate: share of rows where it fires; mean: activation over all rows; difference: of the rates,
    with its 95 % interval, None where too few problems say anything;
    log2_ratio: of the rates; effect_h: Cohen's h; favours: reasoning, instruct or neither;
    share_...: of its activation, by the category of the token. log_odds: natural logarithm of the
    ratio of the odds of firing; auroc: over traces, of the mean activation, reasoning above
    instruct; reason_score: on the reasoning side.

    <control>_difference and so on: the same under a control; survives: the controls under which the
    feature still favours its side, with commas; None where it favours none. twin_...: its best
    match in SAEs of other seeds, the worst of several; stable: whether all of them have it.
    beta_...: how much of it is in the states of the SAE's own model and of another one on the same
    texts; error_...: the share that is left of the squares there.

    Tables of older versions lack what comes after the shares of categories.
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
    log_odds: float | None = None
    auroc: float | None = None
    auroc_low: float | None = None
    auroc_high: float | None = None
    reason_score: float | None = None
    token_difference: float | None = None
    token_low: float | None = None
    token_high: float | None = None
    token_q: float | None = None
    category_difference: float | None = None
    category_low: float | None = None
    category_high: float | None = None
    category_q: float | None = None
    position_difference: float | None = None
    position_low: float | None = None
    position_high: float | None = None
    position_q: float | None = None
    solved_difference: float | None = None
    solved_low: float | None = None
    solved_high: float | None = None
    solved_q: float | None = None
    shared_difference: float | None = None
    shared_low: float | None = None
    shared_high: float | None = None
    shared_q: float | None = None
    all_difference: float | None = None
    all_low: float | None = None
    all_high: float | None = None
    all_q: float | None = None
    survives: str | None = None
    twin_cosine: float | None = None
    twin_correlation: float | None = None
    stable: bool | None = None
    beta_own: float | None = None
    beta_other: float | None = None
    error_own: float | None = None
    error_other: float | None = None


def survived(row: FeatureDiff) -> tuple[str, ...]:
    """Return the controls under which a feature still favours its side."""
    return tuple(row.survives.split(",")) if row.survives else ()


def find_parts(folder: Path) -> list[Path]:
    """Return the finished parts of one division of the work, in order; none where there is no part
    at all.

    Where a folder holds several divisions, the last one that is complete counts. Raises:
    MissingInput that names the parts that are not finished, or that two parts do not belong
    together.
    """
    divisions: dict[tuple[str, int], dict[int, Path]] = {}
    for path in sorted(folder.glob("part_*_of_*")):
        if _PART.fullmatch(path.name) and manifest_of(path).is_file():
            settings = read_finished(path).settings
            of_total = divisions.setdefault((path.suffix, settings["total"]), {})
            of_total[settings["part"]] = path
    if not divisions:
        return []
    complete = [parts for (_, total), parts in divisions.items() if len(parts) == total]
    if not complete:
        (_, total), parts = max(divisions.items(), key=lambda one: len(one[1]) / one[0][1])
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
    """Read the rows of these tables, in order, also the csv tables of older versions.

    Raises: BadRecord.
    """
    return [row for path in parts for row in _read_part(path)]


def _read_part(path: Path) -> list[FeatureDiff]:
    if path.suffix == ".csv":
        return read_csv_as(path, FeatureDiff)
    from rewardscope.features.diff_files import read_diff

    return read_diff(path)


def _origin(path: Path) -> tuple[dict[str, Any], list[str]]:
    manifest = read_finished(path)
    settings = {name: value for name, value in manifest.settings.items() if name != "part"}
    return settings, sorted(entry.digest for entry in manifest.inputs.values())
