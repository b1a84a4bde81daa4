"""The tables of `sae-bench`: what was measured, and each SAE less the baselines at its L0."""

from collections.abc import Sequence
from typing import NamedTuple

from rewardscope.records import Estimate, SaeBenchDifference, SaeBenchRow
from rewardscope.sae.measure.matching import match
from rewardscope.sae.measure.sparse_probing import BELOW_STATES
from rewardscope.sae.model.inference import Sae
from rewardscope.stages.sae_bench_measures import L0, Value
from rewardscope.statistics.intervals import PLAIN, interval
from rewardscope.storage.tables import show_table, shown

STATES, TRAINED = "states", "trained"


class Measured(NamedTuple):
    """Everything that was measured of one SAE at one layer, or of the states."""

    layer: int
    name: str
    kind: str
    is_baseline: bool
    values: list[Value]

    @property
    def l0(self) -> float | None:
        return next((value.estimate.value for value in self.values if value.measure == L0), None)

    def find(self, measure: str, setting: str) -> Value | None:
        return next((v for v in self.values if (v.measure, v.setting) == (measure, setting)), None)


def kind_of(sae: Sae) -> str:
    """Return what training left frozen, `trained` where nothing."""
    return str(sae.info.get("freeze", TRAINED))


def rows_of(measured: Sequence[Measured], *, seed: int) -> list[SaeBenchRow]:
    """Return a row for each number: layer by layer, SAEs of similar L0 beside one another."""
    ordered = sorted(measured, key=lambda each: (each.layer, each.l0 or 0.0, each.is_baseline))
    return [_row(each, value, seed) for each in ordered for value in each.values]


def _row(each: Measured, value: Value, seed: int) -> SaeBenchRow:
    found, lead = value.estimate, value.lead
    return SaeBenchRow(
        layer=each.layer,
        l0=each.l0,
        sae=each.name,
        kind=each.kind,
        measure=value.measure,
        setting=value.setting,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        unit=value.unit,
        controlled_by=value.controlled_by,
        control=value.control,
        lead=lead.value if lead else None,
        lead_low=lead.low if lead else None,
        lead_high=lead.high if lead else None,
        seed=seed,
    )


def differences(measured: Sequence[Measured], *, seed: int) -> list[SaeBenchDifference]:
    """Return each SAE less each kind of baseline at its layer and L0; nothing where no baseline of
    the kind is near enough.
    """
    rows = []
    for own in measured:
        if own.is_baseline or own.l0 is None:
            continue
        others = [each for each in measured if each.is_baseline and each.layer == own.layer]
        for kind in dict.fromkeys(each.kind for each in others):
            of_kind = [each for each in others if each.kind == kind]
            found = (_difference(own, value, kind, of_kind, seed) for value in own.values)
            rows += [row for row in found if row is not None]
    return rows


def _difference(
    own: Measured, value: Value, kind: str, baselines: Sequence[Measured], seed: int
) -> SaeBenchDifference | None:
    if value.measured is None or value.draws is None or own.l0 is None:
        return None
    if value.measure in (L0, BELOW_STATES):  # the latter differ as the sparse probes do
        return None
    curve = []
    for each in baselines:
        other = each.find(value.measure, value.setting)
        if other is not None and other.measured is not None and each.l0 is not None:
            curve.append((each.l0, other.measured))
    matched = match(own.l0, curve)
    if matched is None:
        return None
    found = interval(value.measured - matched.measured, value.draws, scale=PLAIN)
    return SaeBenchDifference(
        layer=own.layer,
        l0=own.l0,
        sae=own.name,
        baseline=kind,
        baseline_l0=matched.l0,
        matched=matched.how,
        measure=value.measure,
        setting=value.setting,
        value=value.estimate.value,
        baseline_value=matched.measured.value,
        difference=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        unit=value.unit,
        seed=seed,
    )


def show_bench(rows: Sequence[SaeBenchRow], compared: Sequence[SaeBenchDifference]) -> str:
    """Lay out one line a measure and SAE, grouped by L0; then the differences at equal L0."""
    header = (
        "layer",
        "L0",
        "SAE",
        "kind",
        "measure",
        "setting",
        "value",
        "95 %",
        "control",
        "lead",
        "95 %",
        "n",
    )
    lines = [
        (
            row.layer,
            shown(row.l0, ".1f"),
            row.sae,
            row.kind,
            row.measure,
            row.setting,
            shown(row.value),
            _bounds(row.value, row.low, row.high, row.n),
            shown(row.control),
            shown(row.lead, "+.3f"),
            _bounds(row.lead, row.lead_low, row.lead_high, row.n),
            row.n,
        )
        for row in rows
    ]
    tables = [show_table(header, lines)]
    if compared:
        header = (
            "layer",
            "L0",
            "SAE",
            "less",
            "matched",
            "measure",
            "setting",
            "difference",
            "95 %",
            "n",
        )
        tables.append(
            show_table(
                header,
                [
                    (
                        row.layer,
                        f"{row.l0:.1f}",
                        row.sae,
                        row.baseline,
                        f"{row.matched} {row.baseline_l0:.1f}",
                        row.measure,
                        row.setting,
                        f"{row.difference:+.3f}",
                        _bounds(row.difference, row.low, row.high, row.n),
                        row.n,
                    )
                    for row in compared
                ],
            )
        )
    return "\n\n".join(tables)


def _bounds(value: float | None, low: float | None, high: float | None, n: int) -> str:
    return "-" if value is None else Estimate(value=value, low=low, high=high, n=n).bounds()
