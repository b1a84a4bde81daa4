"""`probe-transfer`: fit probes on the traces of one policy and score them on those of another, for
every pair and layer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope import paths
from rewardscope.errors import ConfigError
from rewardscope.layers import pick_layers
from rewardscope.log import get_logger, progress, show
from rewardscope.probes.targets import find_target
from rewardscope.records import TransferResult
from rewardscope.settings import Settings
from rewardscope.stage import Stage, distinct, find_required, option
from rewardscope.stages.probing import ProbeConfig
from rewardscope.storage.tables import columns_of, show_table, shown, write_csv

if TYPE_CHECKING:
    from rewardscope.probes.linreg import LinearProbe
    from rewardscope.probes.table import Table
    from rewardscope.statistics.draws import Draws
    from rewardscope.storage.acts import ActStore

# in a manifest of save-acts: what must be the same for states to be comparable
_MODEL = ("prm", "model", "mode")


@dataclass(frozen=True, kw_only=True)
class Config(ProbeConfig):
    """Score the probe of one policy's traces on another's, for every pair and layer.

    A problem is on the same side in every folder, also where two folders hold it under two ids, so
    no probe is scored on a problem that it was fitted to. The loss is what the tested folder's own
    probe has above the other's, on the same rows. Writes results.csv to <data
    dir>/probe-transfer/<names>/<target>/.
    """

    ds_names: tuple[str, ...] = option(
        help="folders of save-acts with one PRM, separated by commas", key=False
    )
    base_dir: Path | None = option(
        None,
        help="where --ds-names are looked for (default: the data folder of the settings)",
        key=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.ds_names) < 2:
            raise ConfigError(
                f"--ds-names {','.join(self.ds_names)}: at least two folders of save-acts are"
                " needed"
            )


def run(config: Config, settings: Settings) -> Path:
    """Fit a probe a folder and layer, score each on all folders; return the folder of the table."""
    base = config.base_dir or settings.data_dir
    folders = [find_required(name, base, "save-acts") for name in config.ds_names]
    distinct("--ds-names", config.ds_names, [Path(paths.slug(folder)) for folder in folders])
    out = paths.probe_transfer_dir(base, folders, config.target, config.name)
    stage = Stage(
        "probe-transfer", config, inputs={paths.slug(folder): folder for folder in folders}, out=out
    )
    if stage.is_done():
        return out
    from rewardscope.probes.shared_problems import same_problems
    from rewardscope.probes.table import Split, read_table
    from rewardscope.statistics.draws import draw
    from rewardscope.storage.acts import ActStore

    stores = {paths.slug(folder).removeprefix("math-rm-"): ActStore(folder) for folder in folders}
    layers = _common_layers(list(stores.values()), config)
    same = same_problems(list(stores.values()))
    if not all(same):
        get_logger().info(
            "probe-transfer: not all generations files are there, so problems are the same by their"
            " ids alone"
        )
    split = Split(test_share=config.test_share, seed=config.seed, folds=config.n_folds)
    tables = {
        name: read_table(store.rows, config.target, split, name=str(store.folder), same=ids)
        for (name, store), ids in zip(stores.items(), same, strict=True)
    }
    with stage:
        draws = {
            name: draw(table.problem[table.test], seed=config.seed)
            for name, table in tables.items()
        }
        results = []
        for layer in progress(layers, "transfer", unit="layer"):
            probes = {
                name: _fit(store, layer, tables[name], config) for name, store in stores.items()
            }
            for name, store in stores.items():
                results += _score(name, store, layer, tables, draws[name], probes, config)
        results_file = paths.linreg_results_file(stage.work)
        write_csv(results_file, results, fields=columns_of(TransferResult))
        show(_show(results))
        stage.finish(
            [results_file], rows=len(results), extra={"layers": list(layers), "names": list(stores)}
        )
    return out


def _common_layers(stores: "list[ActStore]", config: Config) -> tuple[int, ...]:
    """Return the layers to probe.

    Raises: ConfigError where the states of two folders cannot be compared.
    """
    first, captured = stores[0], set(stores[0].layers)
    for store in stores[1:]:
        for what in _MODEL:
            one, other = (getattr(entry.info, what) for entry in (first, store))
            if one != other:
                raise ConfigError(
                    f"--ds-names: the {what} of {first.folder} is {one}, that of {store.folder} is"
                    f" {other}"
                )
        if store.width != first.width:
            raise ConfigError(
                f"--ds-names: {first.folder} is {first.width} wide, {store.folder} {store.width};"
                " they hold states of two models"
            )
        captured &= set(store.layers)
    if not captured:
        raise ConfigError(
            f"--ds-names {','.join(config.ds_names)}: no layer was captured in all of them"
        )
    return pick_layers(config.layers, sorted(captured))


def _fit(store: "ActStore", layer: int, table: "Table", config: Config) -> "LinearProbe":
    from rewardscope.probes.fit import fit_probe
    from rewardscope.probes.table import state_blocks

    return fit_probe(
        lambda: state_blocks(store, layer),
        table.value,
        table.fold,
        folds=table.n_folds,
        penalties=config.penalties,
        classes=table.classes,
    )


def _score(
    name: str,
    store: "ActStore",
    layer: int,
    tables: "dict[str, Table]",
    draws: "Draws",
    probes: "dict[str, LinearProbe]",
    config: Config,
) -> list[TransferResult]:
    """Score the probes of all folders on the test rows of one."""
    from rewardscope.probes.fit import predict_chosen
    from rewardscope.probes.scores import difference, score
    from rewardscope.probes.table import state_blocks

    table = tables[name]
    value_N = table.value[table.test]
    predicted = predict_chosen(
        lambda: state_blocks(store, layer), list(probes.values()), table.test
    )
    scores = {
        train: score(value_N, predicted_N, draws, classes=table.classes)
        for train, predicted_N in zip(probes, predicted.T, strict=True)
    }
    results = []
    for train, probe in probes.items():
        found, loss = scores[train], difference(scores[name], scores[train], draws)
        results.append(
            TransferResult(
                train=train,
                test=name,
                layer=layer,
                target=table.target,
                ridge=probe.ridge,
                n_train=int(tables[train].train.sum()),
                n_test=len(value_N),
                n_test_problems=found.headline.n,
                value=found.headline.value,
                low=found.headline.low,
                high=found.headline.high,
                pearson=found.pearson,
                spearman=found.spearman,
                loss=loss.value,
                loss_low=loss.low,
                loss_high=loss.high,
                seed=config.seed,
            )
        )
    return results


def _show(results: list[TransferResult]) -> str:
    """Lay out each pair at the layer where the tested folder's own probe is best."""
    best: dict[str, TransferResult] = {}
    for r in results:
        if r.train == r.test and (r.test not in best or r.value > best[r.test].value):
            best[r.test] = r
    metric = find_target(results[0].target).metric
    header = [
        "test",
        "train",
        "best layer",
        metric,
        "95 % low",
        "95 % high",
        "loss",
        "loss low",
        "loss high",
        "test problems",
    ]
    rows = []
    for r in sorted(results, key=lambda r: (r.test, r.train != r.test, r.train)):
        if r.layer == best[r.test].layer:
            numbers = [
                shown(value) for value in (r.value, r.low, r.high, r.loss, r.loss_low, r.loss_high)
            ]
            rows.append([r.test, r.train, r.layer, *numbers, r.n_test_problems])
    return show_table(header, rows, keys=2)
