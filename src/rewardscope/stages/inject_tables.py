"""The tables of `inject` from what was found of each feature, and how they are shown."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewardscope.features.injection_table import (
    STRATEGIES,
    VERDICTS,
    StrategyRow,
    VerdictRow,
    VerdictShare,
)
from rewardscope.storage.tables import show_table, shown

if TYPE_CHECKING:
    from rewardscope.capturing.token_text import ReadTokens
    from rewardscope.features.injection import Injected, Outcome
    from rewardscope.features.injection_table import Strategy
    from rewardscope.features.injection_units import Injectable
    from rewardscope.statistics.effects import Effect

_CONTROLS_SHOWN = 5


def strategy_rows(
    layer: int,
    feature: int,
    place: int,
    outcome: "Outcome",
    units: "dict[Strategy, Injectable]",
    found: "Injected",
    read: "ReadTokens",
) -> list[StrategyRow]:
    """Return a row for each strategy that the feature has."""
    rows, n_windows = [], found.windows_T.sum()
    for strategy, net in outcome.nets.items():
        s = STRATEGIES.index(strategy)
        share, control, given = (
            outcome.shares[strategy],
            outcome.controls[strategy],
            units[strategy],
        )
        texts = ["".join(read(list(unit))) for unit in given.units]
        controls = ["".join(read(list(unit))) for unit in given.controls[0][:_CONTROLS_SHOWN]]
        rows.append(
            StrategyRow(
                layer=layer,
                feature=feature,
                strategy=strategy,
                units=json.dumps(texts, ensure_ascii=False),
                units_control=json.dumps(controls, ensure_ascii=False),
                reasoning=_short(outcome.reasoning),
                plain=_short(outcome.plain),
                injected=_short(found.injected_STF[s, :, place].sum() / n_windows),
                control=_short(found.control_STF[s, :, place].sum() / n_windows),
                share=_short(share.value),
                share_low=_short_or_none(share.low),
                share_high=_short_or_none(share.high),
                share_control=_short(control.value),
                control_low=_short_or_none(control.low),
                control_high=_short_or_none(control.high),
                net=_short(net.value),
                low=_short_or_none(net.low),
                high=_short_or_none(net.high),
                texts=len(found.problems),
                n=net.n,
            )
        )
    return [row for row in rows if _is_finite(row)]


def _is_finite(row: StrategyRow) -> bool:
    """Say whether there are shares: a feature that does not fire on reasoning text has none."""
    return all(abs(value) < float("inf") for value in (row.share, row.share_control, row.net))


def verdict_row(layer: int, feature: int, outcome: "Outcome") -> VerdictRow:
    """Return the verdict on a feature."""
    best, strategy = outcome.best, outcome.strategy
    known = best is not None and strategy is not None and abs(best.value) < float("inf")
    return VerdictRow(
        layer=layer,
        feature=feature,
        verdict=outcome.verdict,
        reason=outcome.reason,
        strategy=strategy if known else None,
        net=_short(best.value) if best and known else None,
        low=_short_or_none(best.low) if best and known else None,
        high=_short_or_none(best.high) if best and known else None,
        share=_short(outcome.shares[strategy].value) if strategy and known else None,
        share_control=_short(outcome.controls[strategy].value) if strategy and known else None,
        n=best.n if best else 0,
    )


def verdict_shares(rows: Sequence[VerdictRow]) -> list[VerdictShare]:
    """Return for each layer the share of its features with each verdict."""
    from rewardscope.statistics.intervals import wilson

    shares = []
    for layer in dict.fromkeys(row.layer for row in rows):
        verdicts = [row.verdict for row in rows if row.layer == layer]
        for verdict in VERDICTS:
            found = wilson(verdicts.count(verdict), len(verdicts))
            shares.append(
                VerdictShare(
                    layer=layer,
                    verdict=verdict,
                    count=verdicts.count(verdict),
                    n=len(verdicts),
                    share=found.value,
                    low=found.low,
                    high=found.high,
                )
            )
    return shares


def feature_effects(
    layer: int, feature: int, place: int, outcome: "Outcome", found: "Injected", *, seed: int
) -> "list[Effect]":
    """Return for each strategy what its tokens, and its control's, bring back of the activation on
    reasoning in each problem; none where that is not above the plain text's.
    """
    from rewardscope.models.sites import Site
    from rewardscope.statistics.effects import Place, measured_effect

    surplus = outcome.reasoning - outcome.plain
    if not surplus > 0:
        return []
    where = Place(f"feature {feature}", str(Site(layer)), "solution")
    effects = []
    for strategy in outcome.nets:
        s = STRATEGIES.index(strategy)
        sides = {"": found.injected_STF, " control": found.control_STF}
        for name, values_STF in sides.items():
            above_T = values_STF[s, :, place] - found.plain_TF[:, place]
            values: dict[str, list[float]] = {}
            for problem, above, n in zip(
                found.problems, above_T.tolist(), found.windows_T.tolist(), strict=True
            ):
                sums = values.setdefault(problem, [0.0, 0.0])
                sums[0], sums[1] = sums[0] + above, sums[1] + n
            by_problem = {problem: a / n / surplus for problem, (a, n) in values.items()}
            effects.append(
                measured_effect(where, by_problem, method=f"inject {strategy}{name}", seed=seed)
            )
    return effects


def show_verdicts(rows: Sequence[VerdictRow], shares: Sequence[VerdictShare]) -> str:
    """Lay out the shares of verdicts."""
    header = ("layer", "verdict", "features", "of", "share", "95 % interval")
    table = [
        (
            row.layer,
            row.verdict,
            row.count,
            row.n,
            f"{row.share:.3f}",
            f"{shown(row.low)} {shown(row.high)}",
        )
        for row in shares
    ]
    reasons: dict[str, int] = {}
    for row in rows:
        if row.reason:
            reasons[row.reason] = reasons.get(row.reason, 0) + 1
    why = "".join(f"\nundecided: {count}, {reason}" for reason, count in reasons.items())
    return f"{show_table(header, table)}{why}"


def _short(value: Any) -> float:
    return float(f"{value:.6g}")


def _short_or_none(value: float | None) -> float | None:
    return None if value is None else _short(value)
