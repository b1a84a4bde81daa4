"""`probe-predict`: what fitted probes say of the states of another save-acts folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardscope import paths
from rewardscope.errors import ConfigError, MissingInput
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import progress, show
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, find_required, option
from rewardscope.storage.manifests import read_manifest
from rewardscope.storage.tables import write_csv

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.storage.acts import ActStore


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Predict reward or correctness from states with probes that train-linreg saved.

    Reads every row of the folder, step end or not. Writes <acts>/predictions/<probes>_<target>.csv:
    problem, trace, step, token, whether it is a step end, and a column a layer.
    """

    ds_name: str = option(
        help="a folder of save-acts: a path, or a name below --base-dir", key=False
    )
    probes: str = option(
        help=(
            "a folder of train-linreg: a path, or a name below --base-dir such as"
            " math-rm-.../linreg/reward"
        ),
        key=False,
    )
    base_dir: Path | None = option(
        None, help="where both are looked for (default: the data folder of the settings)", key=False
    )
    name: str | None = option(None, help="name of the result", key=False)
    layers: str = option(
        "all", help="layers among those that have a probe: all, 15, 0-27 or 0,3,5-7"
    )

    def __post_init__(self) -> None:
        check_layers(self.layers)


def run(config: Config, settings: Settings) -> Path:
    """Predict and write the table; return its path."""
    base = config.base_dir or settings.data_dir
    acts = find_required(config.ds_name, base, "save-acts")
    probes = find_required(config.probes, base, "train-linreg").resolve()
    out = paths.linreg_predictions_file(acts, probes, config.name)
    stage = Stage("probe-predict", config, inputs={"acts": acts, "probes": probes}, out=out)
    if stage.is_done():
        return out
    from rewardscope.storage.acts import ActStore

    store, manifest = ActStore(acts), read_manifest(probes)
    if manifest is None or manifest.stage != "train-linreg":
        raise MissingInput(
            f"{probes} is not a finished folder of train-linreg; run invoke train-linreg"
        )
    known = manifest.extra
    if known["width"] != store.width:
        raise ConfigError(
            f"--probes {config.probes}: they read states {known['width']} wide, {acts} holds"
            f" {store.width}"
        )
    layers = pick_layers(config.layers, known["layers"])
    store.check_layers(layers)
    with stage:
        predicted = {
            layer: _predict(store, layer, probes)
            for layer in progress(layers, "predict", unit="layer")
        }
        columns = {f"layer_{layer:02d}": values_N for layer, values_N in predicted.items()}
        fields = ["problem", "trace", "step", "token", "is_step_end", *columns]
        write_csv(stage.work, _rows(store, columns), fields=fields)
        stage.finish([stage.work], rows=store.n_rows, extra={"layers": list(layers)})
    show(f"{store.n_rows} rows, {len(layers)} layers: {out}")
    return out


def _rows(store: "ActStore", columns: "dict[str, np.ndarray]") -> Iterator[dict[str, Any]]:
    """Yield the rows of the table: where each state comes from, and its predictions."""
    index = 0
    for rows in store.row_groups():
        places = zip(
            rows.problem_N.tolist(),
            rows.trace_N.tolist(),
            rows.step_N.tolist(),
            rows.token_N.tolist(),
            rows.step_end_N.tolist(),
            strict=True,
        )
        for problem, trace, step, token, is_end in places:
            yield {
                "problem": rows.problems[problem],
                "trace": trace,
                "step": step,
                "token": token,
                "is_step_end": is_end,
                **{name: f"{values_N[index]:.8g}" for name, values_N in columns.items()},
            }
            index += 1


def _predict(store: "ActStore", layer: int, probes: Path) -> "np.ndarray":
    """Return the predictions of all rows."""
    import numpy as np

    from rewardscope.probes.fit import STATES, predict_chosen
    from rewardscope.probes.linreg import read_probes
    from rewardscope.probes.table import state_blocks

    saved = read_probes(paths.linreg_probe_file(probes, layer))
    if saved is None:
        raise MissingInput(
            f"{paths.linreg_probe_file(probes, layer)} is not there; re-run invoke train-linreg"
        )
    return predict_chosen(
        lambda: state_blocks(store, layer), [saved[STATES]], np.ones(store.n_rows, dtype=bool)
    )[:, 0]
