"""`sae-bench`: what SAEs of a reward model are worth, beside frozen baselines of the same L0."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import get_logger, progress, show
from rewardscope.paths import find_input, sae_bench_dir, slug
from rewardscope.probes.penalties import parse_penalties
from rewardscope.records import Manifest, SaeBenchDifference, SaeBenchRow
from rewardscope.sae.model.runs import SaeRun, find_sae
from rewardscope.settings import Settings
from rewardscope.splits import SPLIT_SEED, TEST_SHARE
from rewardscope.stage import Stage, StageConfig, distinct, find_required, option, require
from rewardscope.storage.manifests import read_manifest
from rewardscope.storage.tables import columns_of, write_csv

if TYPE_CHECKING:
    from rewardscope.stages.sae_bench_kept import RewardsKept
    from rewardscope.stages.sae_bench_measures import Value
    from rewardscope.stages.sae_bench_rows import BenchData
    from rewardscope.stages.sae_bench_tables import Measured

MEASURES, DIFFERENCES = "measures.csv", "differences.csv"
NO_TWIN = "-"


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Measure SAEs of a reward model side by side, on held-out problems, matched in L0.

    k-sparse probing of the correctness of steps, removal of a spurious correlation (data set, or
    place in the solution), targeted perturbation of probes, dead and dense features; with --twins
    stability, with --generations the reward kept. A step counts as right by its own label where the
    generations have labels of steps or are short tinymath solutions, else by the verdict on its
    trace. Writes measures.csv and
    differences.csv to <data dir>/sae-bench/<SAEs>_<folders>/.
    Sources: SAEBench arXiv 2503.09532; frozen baselines arXiv 2602.14111.
    """

    saes: tuple[str, ...] = option(
        help="SAE runs, or checkpoints of other libraries, separated by commas", key=False
    )
    baseline: tuple[str, ...] = option(
        (),
        help="runs of train-sae --freeze, of several k: each SAE is compared with them at its L0",
        key=False,
    )
    twins: tuple[str, ...] = option(
        (),
        help=(
            "for each of --saes and then of --baseline, in their order, a run of another seed, or -"
            " for none: which features come back"
        ),
        key=False,
    )
    ds_name: tuple[str, ...] = option(
        help="folders of save-acts with one PRM, separated by commas", key=False
    )
    generations: str | None = option(
        None, help="generations file: also how much of the PRM's rewards is kept on it", key=False
    )
    prm: str | None = option(
        None, help="with --generations: PRM (default: the one that the folders were made with)"
    )
    name: str | None = option(None, help="name of the result's folder", key=False)
    layers: str = option("all", help="layers among those of every SAE: all, 15, 0-27 or 0,3,5-7")
    k: tuple[int, ...] = option(
        (1, 2, 5, 20), help="how many features a probe may read, or are removed"
    )
    ridge: str = option(
        "1e-1..1e4", help="penalties of the probes; of several one is chosen over --folds"
    )
    folds: int = option(5, help="folds of training problems over which the penalty is chosen")
    test_share: float = option(
        TEST_SHARE, help="share of problems that are held out: at most the --holdout of the SAEs"
    )
    rows: int = option(50_000, help="at most this many step ends of a folder, evenly spaced")
    limit: int = option(1000, help="with --generations: at most this many solutions")
    device: str = option("auto", help="auto, cpu, cuda or cuda:0", key=False)
    seed: int = option(
        SPLIT_SEED, help="seed of the split by problem, of the random controls and the bootstrap"
    )

    def __post_init__(self) -> None:
        check_layers(self.layers)
        parse_penalties(self.ridge)
        if not self.k or min(self.k) < 1:
            raise ConfigError(f"--k {','.join(map(str, self.k))}: numbers of at least 1 are needed")
        if not 2 <= self.folds <= 100:
            raise ConfigError(f"--folds {self.folds}: it must be 2 to 100")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"--test-share {self.test_share}: it must be above 0 and below 1")
        for flag, value in (("rows", self.rows), ("limit", self.limit)):
            if value < 1:
                raise ConfigError(f"--{flag} {value}: at least 1 is needed")
        n = len(self.saes) + len(self.baseline)
        if self.twins and len(self.twins) != n:
            raise ConfigError(
                f"--twins names {len(self.twins)} runs for {n} SAEs; name one for each, or -"
            )


class Benched(NamedTuple):
    """One run of --saes or --baseline."""

    run: SaeRun
    is_baseline: bool
    twin: SaeRun | None

    @property
    def name(self) -> str:
        return slug(self.run.root)


def run(config: Config, settings: Settings) -> Path:
    """Measure every SAE at every layer; return the folder of the tables."""
    benched = _find_runs(config, settings)
    folders = [find_required(name, settings.data_dir, "save-acts") for name in config.ds_name]
    distinct("--ds-name", config.ds_name, [Path(slug(folder)) for folder in folders])
    distinct(
        "--saes and --baseline", (*config.saes, *config.baseline), [Path(b.name) for b in benched]
    )
    generations = None
    if config.generations:
        found = find_input(config.generations, settings.data_dir, suffix=".jsonl")
        generations = require(found, config.generations, "infer")
    saes = [each.run.root for each in benched if not each.is_baseline]
    out = sae_bench_dir(settings.data_dir, saes, folders, config.name)
    stage = Stage("sae-bench", config, inputs=_inputs(benched, folders, generations), out=out)
    if stage.is_done():
        return out
    from rewardscope.stages.sae_bench_rows import Split, read_bench
    from rewardscope.stages.sae_bench_tables import differences, rows_of, show_bench

    layers = _layers(config, benched, folders)
    split = Split(config.test_share, config.seed, config.folds)
    data = read_bench(folders, split, most=config.rows)
    for store in data.stores:
        store.check_layers(layers)
    seen = _warn_of_seen(benched, data)
    kept = _open_kept(config, generations, data)
    with stage:
        measured = list(_measure(config, benched, layers, data, kept))
        rows = rows_of(measured, seed=config.seed)
        compared = differences(measured, seed=config.seed)
        files = [stage.work / MEASURES, stage.work / DIFFERENCES]
        write_csv(files[0], rows, fields=columns_of(SaeBenchRow))
        write_csv(files[1], compared, fields=columns_of(SaeBenchDifference))
        show(show_bench(rows, compared))
        extra = {
            "layers": list(layers),
            "concepts": list(data.concepts),
            "step_ends": len(data.problem_N),
            "with_step_labels": data.step_labels,
            "test_problems": len(data.test_problems),
            "test_problems_trained_on": seen,
        }
        skipped = data.left_out | (kept.skipped if kept else {})
        stage.finish(files, rows=len(rows), skipped=skipped, extra=extra)
    return out


def _find_runs(config: Config, settings: Settings) -> list[Benched]:
    names = [(name, False) for name in config.saes] + [(name, True) for name in config.baseline]
    twins = config.twins or (NO_TWIN,) * len(names)
    return [
        Benched(
            find_sae(name, settings),
            is_baseline,
            None if twin == NO_TWIN else find_sae(twin, settings),
        )
        for (name, is_baseline), twin in zip(names, twins, strict=True)
    ]


def _inputs(
    benched: Sequence[Benched], folders: Sequence[Path], generations: Path | None
) -> dict[str, Path | str]:
    inputs: dict[str, Path | str] = {}
    for number, each in enumerate(benched):
        inputs[f"{'baseline' if each.is_baseline else 'sae'} {number}"] = each.run.root
        if each.twin is not None:
            inputs[f"twin {number}"] = each.twin.root
    inputs |= {f"acts {number}": folder for number, folder in enumerate(folders)}
    return inputs if generations is None else inputs | {"generations": generations}


def _layers(config: Config, benched: Sequence[Benched], folders: Sequence[Path]) -> tuple[int, ...]:
    """Return the layers that every SAE has. Raises: ConfigError where there is none."""
    runs = [each.run for each in benched] + [each.twin for each in benched if each.twin]
    common = set.intersection(*(set(run.layers) for run in runs))
    if not common:
        raise ConfigError("--saes, --baseline and --twins have no layer in common")
    return pick_layers(config.layers, sorted(common))


def _warn_of_seen(benched: Sequence[Benched], data: "BenchData") -> dict[str, int]:
    """Return how many of the held-out problems each run trained on, and name those runs; a run that
    does not say is not counted.
    """
    test = set(data.test_problems)
    known = {name for same in data.ids for name, stands_for in same.items() if stands_for in test}
    seen = {}
    for each in benched:
        held = (read_manifest(each.run.root) or Manifest()).extra.get("held_out_problems")
        if held is None:
            get_logger().info(f"sae-bench: {each.name} does not say on which problems it trained")
        elif n := len(known - set(held)):
            seen[each.name] = n
            get_logger().warning(
                f"sae-bench: {each.name} may have trained on {n} of the {len(known)} held-out"
                " problems; train with at least this --test-share as --holdout"
            )
    return seen


def _open_kept(config: Config, generations: Path | None, data: "BenchData") -> "RewardsKept | None":
    """Load the PRM where rewards are asked for. Raises: ConfigError."""
    if generations is None:
        return None
    prm = config.prm or data.stores[0].info.prm
    if prm is None:
        raise ConfigError("--generations: the folders do not say which PRM; pass --prm")
    from rewardscope.stages.sae_bench_kept import RewardsKept

    return RewardsKept(
        prm,
        generations,
        share=config.test_share,
        split_seed=config.seed,
        limit=config.limit,
        device=config.device,
    )


def _measure(
    config: Config,
    benched: Sequence[Benched],
    layers: Sequence[int],
    data: "BenchData",
    kept: "RewardsKept | None",
) -> "Iterator[Measured]":
    """Yield what was measured of the states and of each SAE, layer by layer."""
    from rewardscope.models.device import pick_device
    from rewardscope.sae.model.checkpoint import load_sae
    from rewardscope.stages import sae_bench_measures as measures
    from rewardscope.stages.sae_bench_tables import STATES, Measured, kind_of

    device, seed = pick_device(config.device), config.seed
    fit = measures.make_fit(folds=config.folds, penalties=parse_penalties(config.ridge))
    for layer in layers:
        rows = data.layer(layer, seed=seed)
        bench = measures.LayerBench(rows, fit, ks=config.k, seed=seed)
        for name in bench.unmeasured:
            get_logger().info(
                f"sae-bench: too few step ends of each combination of correctness and {name}, so"
                " no correlation with it is removed"
            )
        yield Measured(layer, STATES, STATES, False, list(bench.of_states()))
        for each in progress(benched, f"layer {layer}", unit="SAE"):
            sae = load_sae(each.run.layers[layer], device=device)
            sae.check(layer=layer, width=rows.states_ND.shape[1], where=str(data.stores[0].folder))
            values: list[Value] = [*measures.quality_of(sae, data, seed=seed), *bench.of_sae(sae)]
            if each.twin is not None:
                twin = load_sae(each.twin.layers[layer], device=device)
                values.append(measures.stability_of(sae, twin, data, seed=seed))
            if kept is not None:
                values += kept.of_sae(sae, seed=seed)
            yield Measured(layer, each.name, kind_of(sae), each.is_baseline, values)
