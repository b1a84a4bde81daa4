"""`train-sae`: sparse autoencoders on the states of several layers, trained together in one pass
over the rows.
"""

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.errors import ConfigError
from rewardscope.layers import parse_by_layer, show_layers
from rewardscope.log import NullRunLog, get_logger, open_run_log, show
from rewardscope.paths import sae_layer_dir, slug
from rewardscope.sae.model.card import write_card
from rewardscope.sae.train.activations import activation_of
from rewardscope.sae.train.freeze import Freeze
from rewardscope.sae.train.ranks import Alone, Team, mode_of
from rewardscope.settings import Settings, as_environment, launched
from rewardscope.stage import Stage, as_flags, find_required
from rewardscope.stages.sae_rows import Rows, open_forward, open_shards
from rewardscope.stages.train_sae_flags import Config
from rewardscope.stages.train_sae_report import measure, save, show_qualities

if TYPE_CHECKING:
    import torch

    from rewardscope.sae.model.inference import Sae
    from rewardscope.sae.train.state import RunState
    from rewardscope.sae.train.trainer import TrainOptions


_BATCH, _LEAST_STEPS = 4096, 300
# rows without firing (Gao et al.), or this share of a shorter run
_DEAD_AFTER, _DEAD_SHARE = 10_000_000, 0.1


def run(config: Config, settings: Settings) -> Path:
    """Train, measure and save one SAE a layer, alone or with other processes; return the run's
    folder.
    """
    config, launch = config.revised("prm"), launched()
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
    paths = [find_required(name, settings.data_dir, made_by, suffix=suffix) for name in names]
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
    state = open_state(stage, config, team)
    with stage if team.is_first else nullcontext():
        team.decide(lambda: state.adopt(out))
        saes = _train(rows, n_features, k, config, settings, state=state, team=team)
        info = {
            "trained_on": rows.names,
            "prm": rows.prm,
            "hook": "residual stream after the block",
        }
        own = {layer: saes[layer] for layer in team.writes(saes)}
        qualities = measure(rows, own, device=config.device, seed=config.seed)
        written = {
            layer: save(
                sae_layer_dir(stage.work, layer),
                dataclasses.replace(own[layer], info=info | own[layer].info | {"k": k[layer]}),
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
        folders = {layer: sae_layer_dir(stage.work, layer) for layer in rows.layers}
        files.append(write_card(stage.work, folders, name=slug(out)))
        show(show_qualities(list(qualities.values())))
        extra = {
            "layers": list(rows.layers),
            "width": rows.width,
            "n_features": _short(n_features),
            "k": _short(k),
            "activation": config.activation,
            "freeze": config.freeze,
            "held_out_problems": sorted(rows.held_out),
        }
        state.remove()
        stage.finish(files, rows=sum(rows.train.sizes), extra=extra)
    return out


def open_state(stage: Stage, config: Config, team: Team) -> "RunState":
    """Return where the run's state is kept. Raises: ConfigError."""
    from rewardscope.sae.train.state import RunState, parse_every

    return RunState(
        stage.work,
        f"{stage.key} bf16={_bf16(config)}",
        every=parse_every(config.save_every),
        team=team,
    )


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
        activation=activation_of(config.activation, config),
        freeze=Freeze(config.freeze, config.freeze_cosine),
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
