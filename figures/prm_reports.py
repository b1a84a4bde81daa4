"""What the figures read of the reports of `prm-bench`, and how its PRMs are named and coloured.

Scores that a PRM gave under another input are named `PRM@condition`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from figures.style import COLOURS
from rewardscope.errors import MissingInput
from rewardscope.records import Estimate
from rewardscope.settings import Settings
from rewardscope.storage.manifests import read_manifest
from rewardscope.storage.tables import read_json, read_json_as


class Subset(Struct, frozen=True, kw_only=True):
    """The metrics of ProcessBench on a subset; None where a kind of solution is missing."""

    f1: Estimate | None
    error_accuracy: Estimate | None
    correct_accuracy: Estimate | None


class ProcessBench(Struct, frozen=True, kw_only=True):
    """ProcessBench by subset."""

    subsets: dict[str, Subset]


class ErrorRates(Struct, frozen=True, kw_only=True):
    """Rates of false positives and negatives in a bin of steps, or in a group."""

    by: str
    group: str
    start: float = 0.0
    end: float = 0.0
    right: int
    wrong: int
    false_positive: Estimate | None
    false_negative: Estimate | None


class StepBin(Struct, frozen=True, kw_only=True):
    """The mean forecast of a bin, and the share of right steps in it."""

    forecast: float
    right: Estimate


class StepCalibration(Struct, frozen=True, kw_only=True):
    """The scores of a group of steps as chances that a step is right."""

    by: str
    group: str
    steps: int
    ece: Estimate
    reliability: tuple[StepBin, ...]


class Along(Struct, frozen=True, kw_only=True):
    """The mean score of the steps at one place of right or wrong solutions."""

    solution: str
    by: str
    at: float
    mean: Estimate


class AtNumber(Struct, frozen=True, kw_only=True):
    """How well scores tell wrong steps of one number from right ones."""

    number: int
    auroc: Estimate


class FirstError(Struct, frozen=True, kw_only=True):
    """How well scores tell wrong steps from right ones, beside what the position tells."""

    auroc: Estimate
    baselines: dict[str, Estimate]
    best_baseline: str
    above_baseline: Estimate
    same_step_number: Estimate
    by_step_number: tuple[AtNumber, ...]


class StepReport(Struct, frozen=True, kw_only=True):
    """What is known of a PRM's verdicts on steps."""

    right_steps: int
    wrong_steps: int
    errors: tuple[ErrorRates, ...]
    calibration: tuple[StepCalibration, ...]
    along: tuple[Along, ...]
    first_error_found: Estimate | None
    first_error: FirstError | None


class Agreement(Struct, frozen=True, kw_only=True):
    """A PRM beside another on the same solutions."""

    other: str
    solutions: int
    steps: int
    spearman: Estimate | None
    same_verdict: Estimate
    first_errors_found: dict[str, Estimate] = {}
    change_on_right_steps: Estimate | None = None
    change_on_wrong_steps: Estimate | None = None


class PrmReport(Struct, frozen=True, kw_only=True):
    """A report.json of prm-bench."""

    prm: str
    threshold: float
    solutions: int
    processbench: ProcessBench | None = None
    steps: StepReport
    against: tuple[Agreement, ...] = ()

    @property
    def name(self) -> str:
        return short(self.prm)

    @property
    def condition(self) -> str:
        """The input that the PRM was shown in place of its own, empty for its own."""
        return self.prm.partition("@")[2]


def short(prm: str) -> str:
    """Return what a PRM is called: the last part of its id, without a condition."""
    return prm.partition("@")[0].rstrip("/").rpartition("/")[2]


def find(settings: Settings) -> list[Path]:
    """Return the reports of prm-bench that know where a PRM errs. Raises: MissingInput."""
    every = settings.data_dir.glob("prm-bench/*/report.json")
    found = sorted(path for path in every if read_manifest(path) is not None)
    if not found:
        raise MissingInput("no reports on PRMs; run invoke prm-bench")
    known = [path for path in found if "steps" in read_json(path)]
    if not known:
        raise MissingInput(f"{found[0]} is of an older version; run invoke prm-bench again")
    return known


def read_all(paths: Iterable[Path]) -> list[PrmReport]:
    return [read_json_as(path, PrmReport) for path in paths]


def plain(reports: Sequence[PrmReport]) -> list[PrmReport]:
    """Return the reports on PRMs that were shown what they should be."""
    return [report for report in reports if not report.condition]


def colours(reports: Sequence[PrmReport]) -> dict[str, str]:
    """Return a colour for each PRM, by name."""
    names = sorted({report.name for report in reports})
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
