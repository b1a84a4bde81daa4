"""A stage: named inputs, named outputs, and a result that takes its place only when it is whole."""

from rewardscope.stage.config import StageConfig, option
from rewardscope.stage.inputs import distinct, given_files, require
from rewardscope.stage.result import Stage
from rewardscope.stage.units import Units, check_part, deal

__all__ = [
    "Stage",
    "StageConfig",
    "Units",
    "check_part",
    "deal",
    "distinct",
    "given_files",
    "option",
    "require",
]
