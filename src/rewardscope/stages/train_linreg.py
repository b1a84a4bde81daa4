"""Fit a linear probe on the states of each layer at step ends, and score it on held-out problems
beside what it must beat.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from rewardscope import paths
from rewardscope.layers import pick_layers
from rewardscope.log import progress, show
from rewardscope.records import ProbeResult
from rewardscope.settings import Settings
from rewardscope.stage import Stage, find_required, option
from rewardscope.stages.probe_tables import probe_table, warn_of_ends
from rewardscope.stages.probing import ProbeConfig
from rewardscope.storage.tables import columns_of, write_csv

if TYPE_CHECKING:
    from rewardscope.probes.linreg import LinearProbe
    from rewardscope.probes.scores import Scores
    from rewardscope.probes.table import Table
    from rewardscope.statistics.draws import Draws
    from rewardscope.statistics.measures import Measured
    from rewardscope.storage.acts import ActStore

LAYER_0 = "layer 0"
# a probe that leads its controls by less than this r2 or AUROC does not beat them
WORTH_THE_NAME = 0.01


@dataclass(frozen=True, kw_only=True)
class Config(ProbeConfig):
    """Fit linear probes for reward or correctness, layer by layer, beside what they must beat.

    Target `reward` is the PRM's score of the step: ridge regression, headline r2. Target `correct`
    is the grade of the whole trace (0 or 1): logistic regression, headline AUROC. Fitted on some
    problems, scored on the others. Controls on the same
    rows: targets of other problems at the same position, a few random directions, layer 0, the
    token alone, the place in the trace alone. Writes results.csv and layer_XX.npz to
    <acts>/linreg/<target>/.
    """

    ds_name: str = option(
        help="a folder of save-acts: a path, or a name below --base-dir such as math-rm-...",
        key=False,
    )
    base_dir: Path | None = option(
        None,
        help="where --ds-name is looked for (default: the data folder of the settings)",
        key=False,
    )
    data_type: Literal["hiddens"] = option(
        "hiddens", help="what the probe reads: hiddens, the residual stream after each block"
    )


def run(config: Config, settings: Settings) -> Path:
    """Fit, score and save the probes of each layer; return the folder."""
    acts = find_required(config.ds_name, config.base_dir or settings.data_dir, "save-acts")
    out = paths.linreg_dir(acts, config.name or config.target)
    stage = Stage("train-linreg", config, inputs={"acts": acts}, out=out)
    if stage.is_done():
        return out
    from rewardscope.probes.table import Split, read_table
    from rewardscope.statistics.draws import draw
    from rewardscope.statistics.selection import best_of
    from rewardscope.storage.acts import ActStore

    store = ActStore(acts)
    layers = pick_layers(config.layers, store.layers)
    split = Split(test_share=config.test_share, seed=config.seed, folds=config.n_folds)
    table = read_table(store.rows, config.target, split, name=str(acts))
    with stage:
        draws = draw(table.problem[table.test], seed=config.seed)
        results, common = _score_columns(store, table, draws, config)
        files = [paths.linreg_probe_file(stage.work, layer) for layer in layers]
        keep = dict(zip(layers, files, strict=True))
        for file in files:
            stage.reuse(file)
        by_layer: dict[str, Measured] = {}
        for layer in progress(
            [0, *layers[layers[0] == 0 :]] if 0 in store.layers else layers, "probes", unit="layer"
        ):
            fitted = _score_layer(
                store,
                layer,
                table,
                draws,
                config,
                (keep[layer], stage.key) if layer in keep else None,
            )
            if layer in keep:
                results += _compare(layer, fitted, common, table, draws, config)
                by_layer[str(layer)] = fitted["states"][1].measured
            if layer == 0:  # a control of all that follow
                probe, common[LAYER_0] = fitted["states"]
                results.append(_result(None, LAYER_0, probe, common[LAYER_0], table, config))
        results_file = paths.linreg_results_file(stage.work)
        write_csv(results_file, results, fields=columns_of(ProbeResult))
        best, headline = best_of(by_layer, draws)
        show(probe_table(results, best=best, headline=headline))
        warn_of_ends(results, config.penalties)
        counts = {"n_train": int(table.train.sum()), "n_test": int(table.test.sum())}
        stage.finish(
            [results_file, *files],
            rows=len(results),
            extra={
                "layers": list(layers),
                "width": store.width,
                **counts,
                "best_layer": {"layer": int(best), **asdict(headline)},
            },
        )
    return out


def _score_columns(
    store: "ActStore", table: "Table", draws: "Draws", config: Config
) -> "tuple[list[ProbeResult], dict[str, Scores]]":
    """Fit and score the controls that read no states; return their rows and their scores by
    name.
    """
    from rewardscope.probes.controls import (
        POSITION,
        TOKEN,
        fit_columns,
        position_columns,
        token_columns,
    )
    from rewardscope.probes.scores import score
    from rewardscope.probes.step_places import step_places

    places = step_places(store.rows, store.step_ends())
    results, scores = [], {}
    for name, columns in (
        (TOKEN, token_columns(store, table)),
        (POSITION, position_columns(table, places)),
    ):
        probe, predicted_N = fit_columns(columns, table, penalties=config.penalties)
        scores[name] = score(table.value[table.test], predicted_N, draws, classes=table.classes)
        results.append(_result(None, name, probe, scores[name], table, config))
    return results, scores


def _score_layer(
    store: "ActStore",
    layer: int,
    table: "Table",
    draws: "Draws",
    config: Config,
    keep: tuple[Path, str] | None,
) -> "dict[str, tuple[LinearProbe, Scores]]":
    """Fit the probe of a layer and its controls, or read what an interrupted run of the same key
    kept; score them on the test rows.
    """
    from rewardscope.probes.controls import shuffle_targets
    from rewardscope.probes.fit import SHUFFLED, fit_layer
    from rewardscope.probes.layer_scores import score_probes
    from rewardscope.probes.linreg import read_probes, write_probes
    from rewardscope.probes.table import state_blocks

    def source():
        return state_blocks(store, layer)

    probes = read_probes(keep[0], key=keep[1]) if keep else None
    if probes is None or f"{SHUFFLED} 1" not in probes:  # a version before called it otherwise
        shuffled_NS = shuffle_targets(table, seed=config.seed)
        how = {
            "folds": table.n_folds,
            "penalties": config.penalties,
            "classes": table.classes,
            "seed": config.seed,
        }
        probes = fit_layer(source, table.value, shuffled_NS, table.fold, **how)
        if keep:
            write_probes(keep[0], probes, key=keep[1])
    return score_probes(source, probes, table, draws)


def _compare(
    layer: int,
    fitted: "dict[str, tuple[LinearProbe, Scores]]",
    common: "dict[str, Scores]",
    table: "Table",
    draws: "Draws",
    config: Config,
) -> list[ProbeResult]:
    """Return the rows of a layer: its probe with the margin over its best control, then the
    controls that read the same states.
    """
    from rewardscope.probes.scores import margin

    own, *controls = fitted
    beside = {**common, **{name: fitted[name][1] for name in controls}}
    best, lead = margin(fitted[own][1], beside, draws)
    states, *others = (
        _result(layer, name, probe, scores, table, config)
        for name, (probe, scores) in fitted.items()
    )
    # without an interval nobody can tell
    beats = None if lead.low is None else lead.low > WORTH_THE_NAME
    found = {
        "best_control": best,
        "margin": lead.value,
        "margin_low": lead.low,
        "margin_high": lead.high,
        "beats_controls": beats,
    }
    return [msgspec.structs.replace(states, **found), *others]


def _result(
    layer: int | None,
    name: str,
    probe: "LinearProbe",
    scores: "Scores",
    table: "Table",
    config: Config,
) -> ProbeResult:
    return ProbeResult(
        layer=layer,
        probe=name,
        target=table.target,
        ridge=probe.ridge,
        n_train=int(table.train.sum()),
        n_test=int(table.test.sum()),
        n_test_problems=scores.headline.n,
        r2=scores.r2,
        pearson=scores.pearson,
        spearman=scores.spearman,
        mse=scores.mse,
        auroc=scores.auroc,
        accuracy=scores.accuracy,
        majority=scores.majority,
        ece=scores.ece,
        ece_calibrated=scores.ece_calibrated,
        low=scores.headline.low,
        high=scores.headline.high,
        seed=config.seed,
    )
