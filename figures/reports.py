"""What the figures read of JSON results, checked as it is read; other fields are passed over."""

from msgspec import Struct

from rewardscope.records import Estimate


class TraceCounts(Struct, frozen=True, kw_only=True):
    """The traces of one policy in a result of reward-patterns."""

    policy: str
    window: str
    right: int
    wrong: int


class ReliabilityBin(Struct, frozen=True, kw_only=True):
    """The mean forecast of a bin, and the share of right answers in it."""

    forecast: float
    right: Estimate


class Calibration(Struct, frozen=True, kw_only=True):
    """One policy's scores as forecasts of a right answer."""

    policy: str
    window: str
    forecast: str
    ece: Estimate
    ece_calibrated: float | None = None
    """None in results of older versions."""
    reliability: tuple[ReliabilityBin, ...]


class PatternsReport(Struct, frozen=True, kw_only=True):
    """The report.json of reward-patterns."""

    step_length_unit: str
    counts: tuple[TraceCounts, ...]
    calibration: tuple[Calibration, ...]


class Budget(Struct, frozen=True, kw_only=True):
    """What a method reaches with one number of operations a problem."""

    made_by: str
    vote: str
    flops: float
    accuracy: Estimate


class EqualCompute(Struct, frozen=True, kw_only=True):
    """Methods at equal compute; results of older versions have no budgets."""

    budget_flops: float
    problems: int
    by_budget: tuple[Budget, ...] = ()


class MetricsReport(Struct, frozen=True, kw_only=True):
    """A file of metrics."""

    metrics: dict[str, Estimate]
    traces_per_problem: tuple[int, int]
    equal_compute: EqualCompute | None = None


class ScoreChange(Struct, frozen=True, kw_only=True):
    """How far the PRM's scores move where a layer's states are replaced."""

    difference: Estimate
    spearman: Estimate


class RewardKept(Struct, frozen=True, kw_only=True):
    """What is left of the rewards behind one layer's SAE, its mean, and nothing."""

    layer: int
    n_steps: int
    n_problems: int
    sae: ScoreChange
    mean: ScoreChange
    zero: ScoreChange


class SaeQuality(Struct, frozen=True, kw_only=True):
    """One layer of the quality.json of sae-quality."""

    reward: RewardKept
