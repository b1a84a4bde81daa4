"""`train-sae`: sparse autoencoders on the states of several layers, trained together in one pass
over the rows.
"""

import dataclasses
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardscope.cli import as_flags, show
from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers, parse_by_layer, show_layers
from rewardscope.log import NullRunLog, get_logger, open_run_log
from rewardscope.paths import find_input, sae_layer_dir, slug
from rewardscope.prms import DEFAULT_PRM
from rewardscope.sae.model.card import write_card
from rewardscope.sae.model.runs import QUALITY
from rewardscope.sae.train.ranks import Alone, Team, mode_of
from rewardscope.settings import Settings, as_environment, launched
from rewardscope.splits import SPLIT_SEED, TEST_SHARE
from rewardscope.stage import Stage, StageConfig, option, require
from rewardscope.stages.sae_rows import Rows, open_forward, open_shards
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import show_table

if TYPE_CHECKING:
    import torch

    from rewardscope.sae.measure.quality import Quality
    from rewardscope.sae.model.inference import Sae
    from rewardscope.sae.train.state import RunState
    from rewardscope.sae.train.trainer import TrainOptions


_BATCH, _LEAST_STEPS = 4096, 300
# rows without firing (Gao et al.), or this share of a shorter run
_DEAD_AFTER, _DEAD_SHARE = 10_000_000, 0.1


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Train sparse autoencoders on the PRM's hidden states, all layers in one pass.

    Reads folders of save-acts (their rows are mixed), or with --source stream runs the PRM over
    generated solutions while it trains, without a disk; holds out some problems for the quality
    numbers. Writes <SAE checkpoint dir>/<run>/layer_XX/ with sae.safetensors, cfg.json and
    quality.json. A run that was stopped goes on where its state was saved. On several GPUs, or CPU
    processes: --processes 2. On several machines: torchrun ... -m -- invoke train-sae --distributed
    rows ...
    Sources: TopK and AuxK arXiv 2406.04093, BatchTopK 2412.06410, JumpReLU 2407.14435, Matryoshka
    2503.17547.
    """

    ds_names: tuple[str, ...] = option(
        (), help="folders of save-acts, below the data folder or paths, separated by commas"
    )
    run: str = option(
        "sae", help="name of the run: its folder below the SAE checkpoint folder", key=False
    )
    source: Literal["shards", "stream"] = option(
        "shards", help="shards of --ds-names, or stream: the PRM runs over --generations"
    )
    generations: tuple[str, ...] = option(
        (), help="with --source stream: generations files, separated by commas"
    )
    prm: str = option(DEFAULT_PRM, help="with --source stream: hub id or folder of the PRM")
    positions: Literal["step-ends", "all-tokens"] = option(
        "all-tokens", help="with --source stream: all-tokens (of the solution) or step-ends"
    )
    batch_tokens: int | None = option(
        None,
        help=(
            "with --source stream: padded tokens of a forward pass (default: 1024 on the CPU, else"
            " 16384)"
        ),
        key=False,
    )
    layers: str = option("all", help="layers to train on: all, 15, 0-27 or 0,3,5-7")
    activation: Literal["topk", "batchtopk", "jumprelu", "matryoshka"] = option(
        "topk",
        help="which features are active: topk, batchtopk, jumprelu or matryoshka (nested TopK)",
    )
    n_features: str | None = option(
        None,
        help=(
            "features of each SAE: 4096, one number a layer, or 0-3:4096,4-7:8192 (default:"
            " --expansion times the width)"
        ),
    )
    expansion: int = option(
        8, help="features for each dimension of the states, where --n-features is not given"
    )
    k: str = option(
        "32",
        help=(
            "features that may be active at a time (jumprelu: that are aimed at): 32, 32,64 or"
            " 0-3:32,4-7:64"
        ),
    )
    prefixes: tuple[float, ...] = option(
        (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
        help="of matryoshka: nested dictionaries, as shares of the features",
    )
    l0_weight: float = option(
        1.0,
        help="of jumprelu: weight of (L0 / k - 1)^2 beside the fraction of variance unexplained",
    )
    bandwidth: float = option(
        0.002, help="of jumprelu: width of the kernel around thresholds, for states of length 1"
    )
    batch: int | None = option(
        None,
        help=(
            "rows in one batch (default: 4096, or fewer where a run would make less than 300 steps)"
        ),
    )
    epochs: int = option(10, help="passes over the training rows")
    tokens: int | None = option(None, help="rows to train on in all, in place of --epochs")
    lr: float | None = option(
        None,
        help=(
            "learning rate of Adam (default: from the greatest number of features and that of"
            " steps)"
        ),
    )
    warmup: float = option(0.05, help="share of the steps in which the learning rate rises")
    decay: float = option(0.2, help="share of the steps, at the end, in which it falls to zero")
    clip: float = option(1.0, help="greatest norm of a layer's gradient; 0 for no bound")
    aux_alpha: float = option(
        1 / 32, help="weight of the loss that revives dead features; 0 turns it off"
    )
    aux_k: int | None = option(
        None, help="dead features of a row that it uses (default: half the width)"
    )
    precision: Literal["auto", "float32", "bf16"] = option(
        "auto", help="of the encoder's product: auto is bf16 on a GPU"
    )
    holdout: float = option(
        TEST_SHARE,
        help="share of problems kept out of training, for the quality numbers and for probes",
    )
    split_seed: int = option(
        SPLIT_SEED,
        help="which problems: with the seed and a share of at least that of the probes, all their"
        " test problems are kept out",
    )
    seed: int = option(0, help="seed of the weights and the order of rows")
    buffer_mib: int = option(
        1024,
        help="memory for shuffling rows, in MiB; what does not fit is shuffled by halves of it",
    )
    save_every: str = option(
        "10m",
        help=(
            "when the state is saved, to go on after a stop: 500 (steps), 10m (minutes) or 0"
            " (never)"
        ),
        key=False,
    )
    device: str = option("auto", help="auto, cpu or cuda", key=False)
    processes: int = option(
        1,
        help="processes to train in on this machine, each with a GPU or a part of the CPU",
        key=False,
    )
    distributed: Literal["none", "rows", "layers"] = option(
        "none",
        help=(
            "how processes share the work: rows (of every batch; as --processes alone does) or"
            " layers"
        ),
        key=False,
    )
    wandb: bool = option(False, help="send the training curves to wandb", key=False)

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if not (self.ds_names if self.source == "shards" else self.generations):
            wanted = (
                ("--ds-names", "folder of save-acts")
                if self.source == "shards"
                else ("--generations", "generations file")
            )
            raise ConfigError(f"{wanted[0]} is empty; name at least one {wanted[1]}")
        for name in (
            "expansion",
            "batch",
            "epochs",
            "tokens",
            "buffer_mib",
            "aux_k",
            "batch_tokens",
            "processes",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{_flag(name)} {value}: it must be at least 1")
        if self.lr is not None and not 0 < self.lr < 1:
            raise ConfigError(f"--lr {self.lr}: it must be above 0 and below 1")
        for name in ("aux_alpha", "clip", "l0_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{_flag(name)} {getattr(self, name)}: it must be 0 or more")
        for name in ("warmup", "decay", "holdout"):
            if not (0 if name != "holdout" else 1e-9) <= getattr(self, name) < 1:
                raise ConfigError(
                    f"{_flag(name)} {getattr(self, name)}: it must be"
                    f" {'above' if name == 'holdout' else 'at least'} 0 and below 1"
                )
        if not 0 < self.bandwidth < float("inf"):
            raise ConfigError(f"--bandwidth {self.bandwidth}: it must be above 0")
        if list(self.prefixes) != sorted({*self.prefixes, 1.0}) or self.prefixes[0] <= 0:
            raise ConfigError(
                f"--prefixes {','.join(map(str, self.prefixes))}: they must rise from above 0 to 1"
            )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def run(config: Config, settings: Settings) -> Path:
    """Train, measure and save one SAE a layer, alone or with other processes; return the run's
    folder.
    """
    launch = launched()
    mode = mode_of(config.distributed, config.processes, launch)
    if config.processes > 1:
        return _start(
            config.processes, dataclasses.replace(config, processes=1, distributed=mode), settings
        )
    if mode == "none":
        return _run(config, settings, Alone())
    from rewardscope.sae.train.distributed import joined

    with joined(mode, device=config.device) as team:
        return _run(
            dataclasses.replace(config, device=team.device),
            settings,
            team,
            asked=bool(launch and launch.parent),
        )


def _start(n: int, config: Config, settings: Settings) -> Path:
    """Start this task in `n` processes and wait for them."""
    stage, _ = _open_stage(config, settings)
    if not stage.is_done():
        from rewardscope.sae.train.launch import run_processes

        run_processes(n, "train-sae", as_flags(config), environment=as_environment(settings))
    return stage.out


def _open_stage(config: Config, settings: Settings) -> tuple[Stage, list[Path]]:
    """Return the stage and the paths of its inputs. Raises: MissingInput."""
    from_shards = config.source == "shards"
    names, suffix, made_by = (
        (config.ds_names, "", "save-acts")
        if from_shards
        else (config.generations, ".jsonl", "infer")
    )
    paths = [
        require(find_input(name, settings.data_dir, suffix=suffix), name, made_by) for name in names
    ]
    out = settings.sae_checkpoint_dir / config.run
    inputs: dict[str, Path | str] = {
        f"{'acts' if from_shards else 'generations'} {number}": path
        for number, path in enumerate(paths)
    }
    named = dataclasses.replace(
        config,
        **{"ds_names" if from_shards else "generations": tuple(slug(path) for path in paths)},
    )
    return (
        Stage(
            "train-sae",
            named,
            inputs=inputs if from_shards else inputs | {"prm": config.prm},
            out=out,
        ),
        paths,
    )


def _run(config: Config, settings: Settings, team: Team, *, asked: bool = False) -> Path:
    """Train in this process. `asked`: the one that started it has found that there is work."""
    stage, paths = _open_stage(config, settings)
    out = stage.out
    if not asked and team.decide(stage.is_done):
        return out
    rows = (
        open_shards(paths, config, team=team)
        if config.source == "shards"
        else open_forward(paths, config, team=team)
    )
    n_features = parse_by_layer(
        "--n-features", config.n_features or str(config.expansion * rows.width), rows.layers
    )
    k = parse_by_layer("--k", config.k, rows.layers)
    for layer in rows.layers:
        if k[layer] > n_features[layer]:
            raise ConfigError(
                f"--k {k[layer]} is more than the {n_features[layer]} features of layer {layer}"
            )
    state = open_state(out, stage, config, team)
    with stage if team.is_first else nullcontext():
        saes = _train(rows, n_features, k, config, settings, state=state, team=team)
        info = {
            "trained_on": rows.names,
            "prm": rows.prm,
            "hook": "residual stream after the block",
        }
        qualities = _measure(rows, {layer: saes[layer] for layer in team.writes(saes)}, config)
        written = {
            layer: _save(
                sae_layer_dir(out, layer),
                dataclasses.replace(saes[layer], info={**info, "k": k[layer]}),
                quality,
            )
            for layer, quality in qualities.items()
        }
        parts = team.collect((qualities, written))
        if not team.is_first:
            return out
        qualities = {
            layer: part[0][layer] for layer in rows.layers for part in parts if layer in part[0]
        }
        files = [
            file for _, written in parts for layer_files in written.values() for file in layer_files
        ]
        files.append(write_card(out, {layer: sae_layer_dir(out, layer) for layer in rows.layers}))
        show(_show(list(qualities.values())))
        extra = {
            "layers": list(rows.layers),
            "width": rows.width,
            "n_features": _short(n_features),
            "k": _short(k),
            "activation": config.activation,
            "held_out_problems": sorted(rows.held_out),
        }
        stage.finish(files, rows=sum(rows.train.sizes), extra=extra)
        state.remove()
    return out


def open_state(out: Path, stage: Stage, config: Config, team: Team) -> "RunState":
    """Return where the run's state is kept.

    With --force that of an earlier run is removed. Raises: ConfigError.
    """
    from rewardscope.sae.train.state import RunState, parse_every

    state = RunState(
        out, f"{stage.key} bf16={_bf16(config)}", every=parse_every(config.save_every), team=team
    )
    if config.force:
        team.decide(state.remove)
    return state


def _short(by_layer: dict[int, int]) -> int | dict[str, int]:
    """Return the one number of all layers, or those of each."""
    values = set(by_layer.values())
    return (
        values.pop()
        if len(values) == 1
        else {str(layer): value for layer, value in by_layer.items()}
    )


def _device(config: Config) -> "torch.device":
    from rewardscope.models.device import pick_device

    return pick_device(config.device)


def _bf16(config: Config) -> bool:
    return config.precision == "bf16" or (
        config.precision == "auto" and _device(config).type == "cuda"
    )


def _train(
    rows: Rows,
    n_features: dict[int, int],
    k: dict[int, int],
    config: Config,
    settings: Settings,
    *,
    state: "RunState",
    team: Team,
) -> "dict[int, Sae]":
    from rewardscope.sae.train.loop import train_saes
    from rewardscope.sae.train.stream import ActStream

    n_train = sum(rows.train.sizes)
    n_rows = config.tokens or config.epochs * n_train
    batch = config.batch or max(1, min(_BATCH, n_rows // _LEAST_STEPS))
    # So each process shuffles as many rows at a time as one that trains all layers would, and in
    # the same order.
    buffer_bytes = config.buffer_mib * 2**20 * len(rows.train.layers) // len(rows.layers)
    stream = ActStream(
        rows.train, batch=batch, buffer_bytes=buffer_bytes, seed=config.seed, device=_device(config)
    )
    _check_shares(stream.batch, n_rows, team)
    options = train_options(
        config, n_features, k, n_rows=n_rows, n_steps=-(-n_rows // stream.batch)
    )
    options = dataclasses.replace(
        options, shapes={layer: options.shapes[layer] for layer in rows.train.layers}
    )
    get_logger().info(
        f"train-sae: layers {show_layers(rows.layers)}, {_short(n_features)} features, k"
        f" {_short(k)}, {n_train} rows of {len(rows.problems) - len(rows.held_out)} problems,"
        f" {n_rows} row visits, batch {stream.batch}, lr {options.lr:.2g}"
    )
    run_log = (
        open_run_log(config.wandb, config.run, config.result_settings(), settings)
        if team.is_first
        else NullRunLog()
    )
    try:
        return train_saes(stream, options, n_rows=n_rows, run_log=run_log, state=state, team=team)
    finally:
        run_log.finish()


def _check_shares(batch: int, n_rows: int, team: Team) -> None:
    """Raises: ConfigError where processes that share rows would have none in some batch."""
    least = min(batch, n_rows % batch or batch)
    if least < team.least_batch:
        raise ConfigError(
            f"--distributed rows: a batch has {least} rows, too few for {team.size} processes;"
            " change --batch or --tokens"
        )


def train_options(
    config: Config, n_features: dict[int, int], k: dict[int, int], *, n_rows: int, n_steps: int
) -> "TrainOptions":
    """Return what training needs, from the flags and what is known of the rows."""
    from rewardscope.sae.train.trainer import Shape, TrainOptions, auto_lr

    return TrainOptions(
        shapes={layer: Shape(n_features[layer], k[layer]) for layer in n_features},
        activation=config.activation,
        prefixes=config.prefixes,
        l0_weight=config.l0_weight,
        bandwidth=config.bandwidth,
        n_steps=n_steps,
        lr=config.lr or auto_lr(max(n_features.values()), n_steps),
        warmup=config.warmup,
        decay=config.decay,
        clip=config.clip,
        aux_alpha=config.aux_alpha,
        k_aux=config.aux_k,
        dead_after=min(_DEAD_AFTER, int(_DEAD_SHARE * n_rows)),
        bf16=_bf16(config),
        seed=config.seed,
        device=_device(config),
    )


def _measure(rows: Rows, saes: "dict[int, Sae]", config: Config) -> "dict[int, Quality]":
    """Measure these layers in one pass over the held-out rows."""
    if not saes:
        return {}
    from rewardscope.sae.measure.quality import QualitySums

    device = _device(config)
    sums = {
        layer: QualitySums(sae.to(device), n_problems=len(rows.problems))
        for layer, sae in saes.items()
    }
    for acts, problem_N in rows.held():
        for layer, acts_ND in acts.items():
            sums[layer].add(acts_ND.to(device), problem_N)
    return {layer: layer_sums.quality(seed=config.seed) for layer, layer_sums in sums.items()}


def _save(folder: Path, sae: "Sae", quality: "Quality") -> list[Path]:
    from rewardscope.sae.model.checkpoint import save_sae

    files = save_sae(folder, sae)
    write_json(folder / QUALITY, dataclasses.asdict(quality))
    return [*files, folder / QUALITY]


def _show(qualities: "list[Quality]") -> str:
    """Lay out one line a layer, measured on held-out problems."""
    header = ("layer", "FVU", "95 % interval", "L0", "dead", "rows", "problems")
    rows = []
    for q in qualities:
        fvu = (f"{q.fvu.value:.4f}", f"{q.fvu.low:.4f}-{q.fvu.high:.4f}")
        rows.append(
            (
                q.layer,
                *fvu,
                f"{q.l0.value:.1f}",
                f"{q.dead_share.value:.3f}",
                q.n_rows,
                q.n_problems,
            )
        )
    return show_table(header, rows)
