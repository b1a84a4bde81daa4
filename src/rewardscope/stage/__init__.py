"""A stage: named inputs, named outputs, and a result that takes its place only when it is whole."""

from rewardscope.stage.config import StageConfig, as_flags, flag_of, option
from rewardscope.stage.inputs import distinct, find_required, given_files, require
from rewardscope.stage.result import Stage
from rewardscope.stage.units import MOST_PARTS, Units, check_part, deal

__all__ = [
    "MOST_PARTS",
    "Stage",
    "StageConfig",
    "Units",
    "as_flags",
    "check_part",
    "deal",
    "distinct",
    "find_required",
    "flag_of",
    "given_files",
    "option",
    "require",
]
