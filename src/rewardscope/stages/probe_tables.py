"""What `train-linreg` shows people."""

from rewardscope.layers import show_layers
from rewardscope.log import get_logger
from rewardscope.records import Estimate, ProbeResult
from rewardscope.storage.tables import show_table, shown


def warn_of_ends(results: list[ProbeResult], penalties: tuple[float, ...]) -> None:
    """Log where the chosen penalty is an end of the path, so that a better one may lie outside."""
    ends = [
        r.layer
        for r in results
        if r.layer is not None and r.probe == "states" and r.ridge in (penalties[0], penalties[-1])
    ]
    if len(penalties) > 1 and ends:
        get_logger().info(
            f"train-linreg: at layers {show_layers(ends)} the chosen penalty is an end of --ridge;"
            " a wider range may do better"
        )


def probe_table(results: list[ProbeResult], *, best: str, headline: Estimate) -> str:
    """Lay out one line a layer, with the headline of each control beside it, then the best
    layer, with an interval that allows for its choice, and what does not beat its controls.
    """
    states = [r for r in results if r.probe == "states"]
    classes = states[0].auroc is not None
    metrics = (
        ("auroc", "accuracy", "majority", "ece", "ece_calibrated")
        if classes
        else ("r2", "pearson", "spearman", "mse")
    )
    controls = dict.fromkeys(r.probe for r in results if r.probe != "states")
    value = {(r.layer, r.probe): f"{r.auroc if classes else r.r2:.3f}" for r in results}
    header = [
        "layer",
        "ridge",
        *metrics,
        "95 % low",
        "95 % high",
        *controls,
        "margin",
        "margin low",
        "beats controls",
    ]
    rows = []
    for r in states:
        beside = [value.get((r.layer, name)) or value[None, name] for name in controls]
        numbers = [
            shown(getattr(r, name), ".2e" if name == "mse" else ".3f")
            for name in (*metrics, "low", "high")
        ]
        rows.append(
            [
                r.layer,
                f"{r.ridge:.3g}",
                *numbers,
                *beside,
                shown(r.margin),
                shown(r.margin_low),
                "-" if r.beats_controls is None else str(r.beats_controls).lower(),
            ]
        )
    lines = [show_table(header, rows)]
    one = states[0]
    lines.append(
        f"{one.n_train} rows to fit, {one.n_test} rows of {one.n_test_problems} problems to score;"
        " margin: to the best control"
    )
    if classes:
        lines.append("ece_calibrated: what a calibrated probe would have on average")
    if len(states) > 1:
        lines.append(
            f"best layer {best}: {metrics[0]} {headline}, with the choice among {len(states)}"
            " allowed for"
        )
    for control in dict.fromkeys(r.best_control for r in states):
        beaten = [
            r.layer
            for r in states
            if r.best_control == control and r.beats_controls is False and r.layer is not None
        ]
        if beaten:
            lines.append(f"layers {show_layers(beaten)} do not beat their best control: {control}")
    return "\n".join(lines)
