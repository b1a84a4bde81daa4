"""Fit a linear probe on the states of each layer at step ends, and score it on held-out problems."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rewardscope import paths
from rewardscope.cli import show
from rewardscope.errors import ConfigError, MissingInput
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import progress
from rewardscope.probes.splits import is_test
from rewardscope.records import ProbeResult
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option, require
from rewardscope.storage.tables import show_table, write_csv

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.probes.linreg import LinearProbe
    from rewardscope.storage.shards import ActStore


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Fit linear probes for reward or correctness, layer by layer.

    Ridge regression on standardised states at step ends, fitted on some problems and scored on the others. Target `reward`
    is the PRM's score of the step, headline r2; target `correct` is the grade of the whole trace (0 or 1), headline AUROC.
    Writes results.csv and layer_XX.npz to <acts>/linreg/<target>/.
    """

    ds_name: str = option(help="a folder of save-acts: a path, or a name below --base-dir such as math-rm-...", key=False)
    base_dir: Path | None = option(None, help="where --ds-name is looked for (default: the data folder of the settings)", key=False)
    layers: str = option("all", help="layers among the captured ones: all, 15, 0-27 or 0,3,5-7")
    data_type: Literal["hiddens"] = option("hiddens", help="what the probe reads: hiddens, the residual stream after each block")
    target: Literal["reward", "correct"] = option("reward", help="what the probe predicts: reward or correct")
    seed: int = option(0, help="seed of the split by problem and of the bootstrap")
    ridge: float = option(1.0, help="penalty on the squared weights of the standardised states")
    test_share: float = option(0.2, help="share of problems that are held out, above 0 and below 1")

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if not 0 <= self.ridge < float("inf"):
            raise ConfigError(f"--ridge {self.ridge}: it must be 0 or more")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"--test-share {self.test_share}: it must be above 0 and below 1")


class Targets(NamedTuple):
    """What is known of every stored row, in order: arrays [N]. Rows on neither side take no part."""

    value: "np.ndarray"
    problem: "np.ndarray"
    train: "np.ndarray"
    test: "np.ndarray"


def run(config: Config, settings: Settings) -> Path:
    """Fit, score and save one probe a layer; return the folder."""
    acts = require(paths.find_input(config.ds_name, config.base_dir or settings.data_dir), config.ds_name, "save-acts")
    out = paths.linreg_dir(acts, config.target)
    stage = Stage("train-linreg", config, inputs={"acts": acts}, out=out)
    if stage.is_done():
        return out
    from rewardscope.storage.shards import ActStore

    store = ActStore(acts)
    layers = pick_layers(config.layers, store.layers)
    targets = read_targets(store, config)
    with stage:
        results, files = [], []
        for layer in progress(layers, "probes", unit="layer"):
            path = paths.linreg_probe_file(out, layer)
            probe = _fit(store, layer, targets, path, ridge=config.ridge, key=stage.key)
            results.append(_score(store, layer, targets, probe, config))
            files.append(path)
        table = paths.linreg_results_file(out)
        write_csv(table, results, fields=[f.name for f in dataclasses.fields(ProbeResult)])
        show(_show(results))
        counts = {"n_train": int(targets.train.sum()), "n_test": int(targets.test.sum())}
        stage.finish([table, *files], rows=len(results), extra={"layers": list(layers), "width": store.width, **counts})
    return out


def read_targets(store: "ActStore", config: Config) -> Targets:
    """Read the target of every row and the side of its problem. Raises: ConfigError, MissingInput where no probe can be fitted."""
    import numpy as np

    numbers: dict[str, int] = {}
    value_N, problem_N = np.zeros(store.n_rows), np.zeros(store.n_rows, dtype=np.int64)
    known_N = np.zeros(store.n_rows, dtype=bool)
    for index, row in enumerate(store.iter_rows()):
        value = row.reward if config.target == "reward" else row.correct
        problem_N[index] = numbers.setdefault(row.problem, len(numbers))
        if row.is_step_end and value is not None:
            value_N[index], known_N[index] = float(value), True
    if not known_N.any():
        raise MissingInput(f"{store.folder}: no step end has a {config.target} value, so there is nothing to fit")
    held_out = np.array([is_test(problem, share=config.test_share, seed=config.seed) for problem in numbers])
    targets = Targets(value=value_N, problem=problem_N, train=known_N & ~held_out[problem_N], test=known_N & held_out[problem_N])
    for side, rows_N in (("training", targets.train), ("test", targets.test)):
        n_problems = len(np.unique(problem_N[rows_N]))
        if n_problems < 2:
            raise ConfigError(
                f"{store.folder}: {n_problems} of {len(numbers)} problems on the {side} side, at least 2 are needed; "
                "save acts of more problems, or pass another --seed or --test-share"
            )
        if np.ptp(value_N[rows_N]) == 0:
            raise ConfigError(
                f"{store.folder}: {config.target} is {value_N[rows_N][0]:g} in all {int(rows_N.sum())} rows on the {side} side, "
                "so a probe cannot be judged; save acts of more problems, or pass another --seed or --target"
            )
    return targets


def _fit(store: "ActStore", layer: int, targets: Targets, path: Path, *, ridge: float, key: str) -> "LinearProbe":
    """Fit the probe of a layer on the training rows, or read what an interrupted run of the same key fitted."""
    from rewardscope.probes.linreg import fit_ridge, read_probe, write_probe

    probe = read_probe(path, key=key)
    if probe is None:
        probe = fit_ridge(_chunks(store, layer, targets, targets.train), ridge=ridge)
        write_probe(path, probe, key=key)
    return probe


def _score(store: "ActStore", layer: int, targets: Targets, probe: "LinearProbe", config: Config) -> ProbeResult:
    """Score the probe of a layer on the test rows."""
    import torch

    from rewardscope.probes.scores import score

    value_N, problem_N = targets.value[targets.test], targets.problem[targets.test]
    predicted_N = torch.cat([probe.predict(acts_ND) for acts_ND, _ in _chunks(store, layer, targets, targets.test)]).numpy()
    scores = score(value_N, predicted_N, problem_N, classes=config.target == "correct", seed=config.seed)
    return ProbeResult(
        layer=layer, target=config.target, n_train=int(targets.train.sum()), n_test=len(value_N), n_test_problems=scores.headline.n,
        r2=scores.r2, pearson=scores.pearson, spearman=scores.spearman, auroc=scores.auroc,
        low=scores.headline.low, high=scores.headline.high, seed=config.seed,
    )  # fmt: skip


def _chunks(store: "ActStore", layer: int, targets: Targets, rows_N: "np.ndarray") -> Any:
    """Yield the chosen rows of a layer and their targets, shard by shard."""
    import torch

    start = 0
    for acts_ND in store.stream_layer(layer):
        end = start + len(acts_ND)
        chosen_N = rows_N[start:end]
        yield acts_ND[torch.from_numpy(chosen_N)], torch.from_numpy(targets.value[start:end][chosen_N])
        start = end


def _show(results: list[ProbeResult]) -> str:
    """Lay out one line a layer; the interval is that of r2, or of AUROC where there is one."""
    header = ["layer", "n train", "n test", "test problems", "r2", "pearson", "spearman", "auroc", "95 % low", "95 % high"]
    rows = []
    for r in results:
        auroc = "" if r.auroc is None else f"{r.auroc:.3f}"
        metrics = [f"{value:.3f}" for value in (r.r2, r.pearson, r.spearman)]
        rows.append([r.layer, r.n_train, r.n_test, r.n_test_problems, *metrics, auroc, f"{r.low:.3f}", f"{r.high:.3f}"])
    return show_table(header, rows)
