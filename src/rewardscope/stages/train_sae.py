"""`train-sae`: TopK SAEs on the captured states of several layers, trained together in one pass over the shards."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardscope.cli import show
from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers, pick_layers, show_layers
from rewardscope.log import get_logger, open_run_log
from rewardscope.paths import find_input, sae_layer_dir, slug
from rewardscope.sae.runs import QUALITY
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option, require
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import show_table

if TYPE_CHECKING:
    import torch

    from rewardscope.sae.checkpoint import Sae
    from rewardscope.sae.quality import Quality
    from rewardscope.sae.stream import Split
    from rewardscope.storage.shards import ActStore


_BATCH, _LEAST_STEPS = 4096, 300


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Train TopK sparse autoencoders on the PRM's hidden states, all layers in one pass.

    Reads folders of save-acts (their rows are mixed), holds out some problems for the quality numbers, and writes
    <SAE checkpoint dir>/<run>/layer_XX/ with sae.safetensors, cfg.json and quality.json. Source: arXiv 2406.04093.
    """

    ds_names: tuple[str, ...] = option(help="folders of save-acts, below the data folder or paths, separated by commas")
    run: str = option("sae", help="name of the run: its folder below the SAE checkpoint folder", key=False)
    layers: str = option("all", help="layers to train on: all, 15, 0-27 or 0,3,5-7")
    n_features: int | None = option(None, help="features of each SAE (default: --expansion times the width)")
    expansion: int = option(8, help="features for each dimension of the states, where --n-features is not given")
    k: int = option(32, help="features that may be active at a time")
    batch: int | None = option(None, help="rows in one batch (default: 4096, or fewer where a run would make less than 300 steps)")
    epochs: int = option(10, help="passes over the training rows")
    tokens: int | None = option(None, help="rows to train on in all, in place of --epochs")
    lr: float | None = option(None, help="learning rate of Adam (default: from the numbers of features and of steps)")
    aux_alpha: float = option(1 / 32, help="weight of the loss that revives dead features; 0 turns it off")
    holdout: float = option(0.1, help="share of problems kept out of training, for the quality numbers")
    seed: int = option(0, help="seed of the weights, the order of rows and the held-out problems")
    buffer_mib: int = option(1024, help="memory for shuffling rows, in MiB")
    device: str = option("auto", help="auto, cpu or cuda", key=False)
    wandb: bool = option(False, help="send the training curves to wandb", key=False)

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if not self.ds_names:
            raise ConfigError("--ds-names is empty; name at least one folder of save-acts")
        for name in ("n_features", "expansion", "k", "batch", "epochs", "tokens", "buffer_mib"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: it must be at least 1")
        if self.lr is not None and not 0 < self.lr < 1:
            raise ConfigError(f"--lr {self.lr}: it must be above 0 and below 1")
        if not 0 <= self.aux_alpha < float("inf"):
            raise ConfigError(f"--aux-alpha {self.aux_alpha}: it must be 0 or more")
        if not 0 < self.holdout < 1:
            raise ConfigError(f"--holdout {self.holdout}: it must be above 0 and below 1")


def run(config: Config, settings: Settings) -> Path:
    """Train, measure and save one SAE a layer; return the run's folder."""
    folders = [require(find_input(name, settings.data_dir), name, "save-acts") for name in config.ds_names]
    out = settings.sae_checkpoint_dir / config.run
    named = dataclasses.replace(config, ds_names=tuple(slug(folder) for folder in folders))
    stage = Stage("train-sae", named, inputs={f"acts {number}": folder for number, folder in enumerate(folders)}, out=out)
    if stage.is_done():
        return out
    from rewardscope.models.load import pick_device
    from rewardscope.sae.rows import load_rows
    from rewardscope.sae.stream import split_rows
    from rewardscope.storage.shards import ActStore

    stores = [ActStore(folder) for folder in folders]
    layers = _common_layers(config, stores)
    n_features = config.n_features or config.expansion * stores[0].width
    if config.k > n_features:
        raise ConfigError(f"--k {config.k} is more than the {n_features} features")
    tables = [load_rows(store, store.sequences()) for store in stores]
    split = split_rows(stores, tables, share=config.holdout, seed=config.seed)
    device = pick_device(config.device)
    with stage:
        saes = _train(split, layers, n_features, config, settings, device=device)
        files, qualities = [], []
        prm = stores[0].manifest["extra"].get("prm")
        info = {"trained_on": list(named.ds_names), "prm": prm, "hook": "residual stream after the block"}
        for layer, sae in saes.items():
            quality = _measure(split, sae, seed=config.seed, device=device)
            folder = sae_layer_dir(out, layer)
            files += _save(folder, dataclasses.replace(sae, info=info), quality)
            qualities.append(quality)
        show(_show(qualities))
        extra = {"layers": list(layers), "width": stores[0].width, "n_features": n_features, "k": config.k}
        stage.finish(
            files, rows=sum(len(shard.rows_N) for shard in split.train), extra=extra | {"held_out_problems": sorted(split.held_out)}
        )
    return out


def _common_layers(config: Config, stores: "list[ActStore]") -> tuple[int, ...]:
    """Return the layers to train on. Raises: ConfigError where the folders do not go together."""
    widths = {store.width for store in stores}
    if len(widths) > 1:
        shown = ", ".join(f"{store.folder} {store.width}" for store in stores)
        raise ConfigError(f"--ds-names: the folders have states of different widths ({shown}); train one run for each PRM")
    shared = sorted(set(stores[0].layers).intersection(*(store.layers for store in stores)))
    if not shared:
        shown = ", ".join(f"{store.folder} {show_layers(store.layers)}" for store in stores)
        raise ConfigError(f"--ds-names: no layer was captured in every folder ({shown})")
    return pick_layers(config.layers, shared)


def _train(
    split: "Split", layers: tuple[int, ...], n_features: int, config: Config, settings: Settings, *, device: "torch.device"
) -> "dict[int, Sae]":
    from rewardscope.sae.stream import ActStream
    from rewardscope.sae.loop import train_saes
    from rewardscope.sae.train import Shape, TrainOptions, auto_lr

    n_train = sum(len(shard.rows_N) for shard in split.train)
    n_rows = config.tokens or config.epochs * n_train
    batch = config.batch or max(1, min(_BATCH, n_rows // _LEAST_STEPS))
    stream = ActStream(split.train, layers, batch=batch, buffer_bytes=config.buffer_mib * 2**20, seed=config.seed)
    n_steps = -(-n_rows // stream.batch)
    options = TrainOptions(
        shapes=dict.fromkeys(layers, Shape(n_features, config.k)), activation="topk", prefixes=(1.0,), l0_weight=1.0, bandwidth=0.002,
        n_steps=n_steps, lr=config.lr or auto_lr(n_features, n_steps), warmup=0.05, decay=0.2, clip=0.0, aux_alpha=config.aux_alpha,
        k_aux=None, dead_after=min(10_000_000, int(0.1 * n_rows)), bf16=False, seed=config.seed, device=device,
    )  # fmt: skip
    get_logger().info(
        f"train-sae: layers {show_layers(layers)}, {n_features} features, k {config.k}, {n_train} rows of "
        f"{len(split.problems) - len(split.held_out)} problems, {n_rows} row visits, batch {stream.batch}, lr {options.lr:.2g}"
    )
    run_log = open_run_log(config.wandb, config.run, config.result_settings(), settings)
    try:
        return train_saes(stream, options, n_rows=n_rows, run_log=run_log)
    finally:
        run_log.finish()


def _measure(split: "Split", sae: "Sae", *, seed: int, device: "torch.device") -> "Quality":
    from rewardscope.sae.quality import measure_quality
    from rewardscope.sae.stream import held_batches

    return measure_quality(sae.to(device), held_batches(split.held, sae.layer, device=device), n_problems=len(split.problems), seed=seed)


def _save(folder: Path, sae: "Sae", quality: "Quality") -> list[Path]:
    from rewardscope.sae.checkpoint import save_sae

    files = save_sae(folder, sae)
    write_json(folder / QUALITY, dataclasses.asdict(quality))
    return [*files, folder / QUALITY]


def _show(qualities: "list[Quality]") -> str:
    """Lay out one line a layer, measured on held-out problems."""
    header = ("layer", "FVU", "95 % interval", "L0", "dead", "rows", "problems")
    rows = []
    for q in qualities:
        fvu = (f"{q.fvu.value:.4f}", f"{q.fvu.low:.4f}-{q.fvu.high:.4f}")
        rows.append((q.layer, *fvu, f"{q.l0.value:.1f}", f"{q.dead_share.value:.3f}", q.n_rows, q.n_problems))
    return show_table(header, rows)
