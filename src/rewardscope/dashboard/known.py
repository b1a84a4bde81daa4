"""What the tables of other stages say of each feature, put together for its card."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rewardscope.dashboard.cards import Controls, Effect, Injection, Known, Label, Twin
from rewardscope.dashboard.text_store import short
from rewardscope.features.ablation_table import AblationRow
from rewardscope.features.diff_table import CONTROLS, FeatureDiff, survived
from rewardscope.features.injection_table import VerdictRow
from rewardscope.features.labels_table import FeatureCategory


class Tables(NamedTuple):
    """Rows of other stages about the features of one SAE, by the name of the result."""

    twins: tuple[str, ...] = ()
    """The runs that feature-diff looked for matches in."""
    labels: Mapping[str, Sequence[FeatureCategory]] = {}
    verdicts: Mapping[str, Sequence[VerdictRow]] = {}
    ablations: Mapping[str, Sequence[AblationRow]] = {}


def known_features(tables: Tables, diffs: Iterable[FeatureDiff], *, layer: int) -> dict[int, Known]:
    """Return what is known of each feature of a layer; `diffs` are the layer's rows."""
    by_feature: dict[int, list[FeatureDiff]] = defaultdict(list)
    for row in diffs:
        by_feature[row.feature].append(row)
    controls = {feature: _controls(rows) for feature, rows in by_feature.items()}
    twins = {feature: _twin(rows, tables.twins) for feature, rows in by_feature.items()}
    labels, injections = _labels(tables, layer), _injections(tables, layer)
    effects = _effects(tables, layer)
    found = {
        feature: Known(
            labels=tuple(labels.get(feature, ())),
            controls=controls.get(feature, ()),
            twin=twins.get(feature),
            injections=tuple(injections.get(feature, ())),
            ablation=tuple(effects.get(feature, ())),
        )
        for feature in {*by_feature, *labels, *injections, *effects}
    }
    return {feature: known for feature, known in found.items() if known != Known()}


def _controls(rows: Sequence[FeatureDiff]) -> tuple[Controls, ...]:
    """Return the controls of the pairs in which the feature favours a side; tables of older
    versions have none.
    """
    return tuple(_controls_of(row) for row in rows if row.survives is not None)


def _controls_of(row: FeatureDiff) -> Controls:
    kept = survived(row)
    others = [name for name in CONTROLS if name not in kept]
    unknown = tuple(name for name in others if getattr(row, f"{name}_low") is None)
    return Controls(
        pair=(row.reasoning, row.instruct),
        favours=row.favours,
        survived=kept,
        failed=tuple(name for name in others if name not in unknown),
        unknown=unknown,
    )


def _twin(rows: Sequence[FeatureDiff], runs: tuple[str, ...]) -> Twin | None:
    cosines = [row.twin_cosine for row in rows if row.twin_cosine is not None]
    if not cosines:
        return None
    correlations = [row.twin_correlation for row in rows if row.twin_correlation is not None]
    stable = [row.stable for row in rows if row.stable is not None]
    return Twin(
        runs=runs,
        cosine=short(min(cosines)),
        correlation=short(min(correlations)) if correlations else None,
        stable=all(stable) if stable else None,
    )


def _labels(tables: Tables, layer: int) -> dict[int, list[Label]]:
    found: dict[int, list[Label]] = defaultdict(list)
    for result, rows in tables.labels.items():
        for row in rows:
            if row.layer == layer and row.scope == "all":
                found[row.feature].append(
                    Label(
                        result=result,
                        category=row.category,
                        assigned=row.assigned,
                        purity=short(row.purity),
                        base_rate=short(row.base_rate),
                        lift=short(row.lift),
                        low=_short(row.low),
                        high=_short(row.high),
                    )
                )
    return found


def _injections(tables: Tables, layer: int) -> dict[int, list[Injection]]:
    found: dict[int, list[Injection]] = defaultdict(list)
    for result, rows in tables.verdicts.items():
        for row in rows:
            if row.layer == layer:
                found[row.feature].append(
                    Injection(
                        result=result,
                        verdict=row.verdict,
                        reason=row.reason,
                        strategy=row.strategy,
                        net=_short(row.net),
                        low=_short(row.low),
                        high=_short(row.high),
                        n=row.n,
                    )
                )
    return found


def _effects(tables: Tables, layer: int) -> dict[int, list[Effect]]:
    found: dict[int, list[Effect]] = defaultdict(list)
    for result, rows in tables.ablations.items():
        for row in rows:
            if row.layer == layer and row.kind == "feature":
                found[int(row.name)].append(_effect(result, row))
    return found


def _effect(result: str, row: AblationRow) -> Effect:
    against = None
    if row.control is not None:
        against = short(row.control), _short(row.control_low), _short(row.control_high)
    return Effect(
        result=result,
        edit=row.edit,
        measure=row.measure,
        value=short(row.change),
        low=_short(row.low),
        high=_short(row.high),
        n=row.n_problems,
        n_controls=row.n_controls,
        against=against,
    )


def _short(value: float | None) -> float | None:
    return None if value is None else short(value)
