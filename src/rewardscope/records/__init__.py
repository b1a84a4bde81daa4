"""The records that flow between stages: frozen, checked when made; unknown is None, never NaN.

What is read from files is a msgspec struct, so that `storage.typed` checks every type as it reads.
"""

from rewardscope.records.generations import (
    FINISHES,
    Completion,
    Cost,
    Finish,
    Problem,
    SolvedProblem,
    Trace,
)
from rewardscope.records.inputs import Encoded
from rewardscope.records.manifest import InputDigest, Manifest
from rewardscope.records.results import (
    Estimate,
    LayerQuality,
    PatternBin,
    ProbeResult,
    SaeBenchDifference,
    SaeBenchRow,
    TransferResult,
)

__all__ = [
    "FINISHES",
    "Completion",
    "Cost",
    "Encoded",
    "Estimate",
    "Finish",
    "InputDigest",
    "LayerQuality",
    "Manifest",
    "PatternBin",
    "ProbeResult",
    "Problem",
    "SaeBenchDifference",
    "SaeBenchRow",
    "SolvedProblem",
    "Trace",
    "TransferResult",
]
