"""Rows of result tables."""

from dataclasses import dataclass

import msgspec

from rewardscope.errors import BadRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval and the count behind it (problems, unless said otherwise).

    `low` and `high` are None where there are too few problems for an interval, or nothing varies.
    Raises: BadRecord where they do not bound the value.
    """

    value: float
    low: float | None
    high: float | None
    n: int

    def __post_init__(self) -> None:
        low, value, high = self.low, self.value, self.high
        if low is None and high is None:
            return
        if low is None or high is None or not low <= value <= high:
            raise BadRecord(
                f"the interval from {low} to {high} does not hold its value {value}; make the"
                " result again with --force"
            )

    def __str__(self) -> str:
        return f"{self.value:.3f} {self.bounds()} n={self.n}"

    def bounds(self, form: str = ".3f") -> str:
        """Return the interval as text, `-` where there is none."""
        if self.low is None or self.high is None:
            return "-"
        return f"[{self.low:{form}}, {self.high:{form}}]"


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row of `train-linreg`: a probe, or a control that stands beside it on the same rows.

    `probe` is `states`, or the control's name; `layer` is None for a control that reads no states.
    `low` and `high` bound the headline metric: r2 for reward, auroc for correct; None where there
    are too few problems. `ridge` is the penalty that was taken. `mse` of a target of two classes is
    the Brier score, `majority` the accuracy of always saying the commoner class, `ece` the
    calibration error in 10 bins, `ece_calibrated` what calibrated probabilities would have on
    average.

    Of `states` alone: `best_control` is the strongest control, `margin` the headline less that of
    the best control, bounded by `margin_low` and `margin_high`, which allow for the choice among
    the controls, and `beats_controls` whether `margin_low` is above what is worth the name (0.01).
    """

    layer: int | None
    probe: str
    target: str
    ridge: float
    n_train: int
    n_test: int
    n_test_problems: int
    r2: float
    pearson: float
    spearman: float
    mse: float
    auroc: float | None = None
    accuracy: float | None = None
    majority: float | None = None
    ece: float | None = None
    ece_calibrated: float | None = None
    low: float | None
    high: float | None
    best_control: str | None = None
    margin: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    beats_controls: bool | None = None
    seed: int


class TransferResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row of `probe-transfer`: a probe fitted on the traces of `train`, scored on held-out
    problems of `test`.

    `value` is r2 for reward, auroc for correct. `loss` is what `test`'s own probe has above it on
    the same rows; 0 on the diagonal.
    """

    train: str
    test: str
    layer: int
    target: str
    ridge: float
    n_train: int
    n_test: int
    n_test_problems: int
    value: float
    low: float | None
    high: float | None
    pearson: float
    spearman: float
    loss: float
    loss_low: float | None
    loss_high: float | None
    seed: int


class PatternBin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row of `reward-patterns`: the mean step score where `by` (position, step length, step
    count) is in a bin.

    `answer` is right, wrong or unknown, `window` says whether the trace fitted the PRM's positions.
    `low` and `high` bound the mean, None where too few problems are in the bin.
    """

    policy: str
    window: str
    answer: str
    by: str
    start: float
    end: float
    mean: float
    low: float | None
    high: float | None
    n_steps: int
    n_traces: int
    n_problems: int


class LayerQuality(msgspec.Struct, frozen=True, kw_only=True):
    """The quality.json of one layer's SAE; `sae.measure.quality` says what is in it."""

    layer: int
    n_rows: int
    n_problems: int
    fvu: Estimate
    dead_share: Estimate
    l0: Estimate | None = None
    density: tuple[int, ...] = ()


class SaeBenchRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row of `sae-bench`: one measure of one SAE on held-out problems.

    `kind` is trained, or what training left frozen; `states` for a probe of the raw states, which
    has no `l0`. `control` is the same number of what `controlled_by` names, `lead` how far the
    value is above it. `n` counts problems; features where `unit` says so.
    """

    layer: int
    l0: float | None
    sae: str
    kind: str
    measure: str
    setting: str
    value: float
    low: float | None
    high: float | None
    n: int
    unit: str
    controlled_by: str | None = None
    control: float | None = None
    lead: float | None = None
    lead_low: float | None = None
    lead_high: float | None = None
    seed: int


class SaeBenchDifference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row of `sae-bench`: how far an SAE is above a kind of baseline at its L0.

    `matched` says how: interpolated between the two nearest in L0, or the nearest alone, whose L0
    is `baseline_l0`.
    """

    layer: int
    l0: float
    sae: str
    baseline: str
    baseline_l0: float
    matched: str
    measure: str
    setting: str
    value: float
    baseline_value: float
    difference: float
    low: float | None
    high: float | None
    n: int
    unit: str
    seed: int
