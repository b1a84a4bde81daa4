"""The features that favour reasoning, from the tables of `feature-diff`, for the stages that go on
with them.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rewardscope.errors import MissingInput
from rewardscope.features.diff_table import find_parts, read_parts
from rewardscope.log import get_logger
from rewardscope.paths import diff_part_file
from rewardscope.settings import Settings


def diff_tables(
    settings: Settings, name: str | Path, *, stage: str, needed_by: str | None = None
) -> list[Path]:
    """Return the tables of a feature-diff, if all its parts are there, else none.

    Raises: MissingInput where a flag needs them.
    """
    folder = diff_part_file(settings.data_dir, name, 1, 1).parent
    try:
        parts = find_parts(folder)
    except MissingInput as error:
        if needed_by:
            raise
        get_logger().info(f"{stage}: feature-diff is left out: {error}")
        return []
    if needed_by and not parts:
        raise MissingInput(
            f"{folder} has no results for {needed_by}; run invoke feature-diff first"
        )
    return parts


def favouring(parts: Sequence[Path]) -> dict[int, set[int]]:
    """Return the features of each layer that favour reasoning in any pair of data sets."""
    found: dict[int, set[int]] = defaultdict(set)
    for row in read_parts(parts):
        if row.favours == "reasoning":
            found[row.layer].add(row.feature)
    return found
