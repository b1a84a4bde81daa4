"""The flags of `train-sae`, and what they may be."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers
from rewardscope.prms import DEFAULT_PRM
from rewardscope.sae.train.activations import ACTIVATIONS, ActivationFlags, ActivationName
from rewardscope.sae.train.freeze import FreezeName
from rewardscope.splits import SPLIT_SEED, TEST_SHARE
from rewardscope.stage import option
from rewardscope.stages.model_flags import ModelFlags

_AT_LEAST_1 = (
    "expansion",
    "batch",
    "epochs",
    "tokens",
    "buffer_mib",
    "aux_k",
    "batch_tokens",
    "processes",
)


@dataclass(frozen=True, kw_only=True)
class Config(ActivationFlags, ModelFlags):
    """Train sparse autoencoders on the PRM's hidden states, all layers in one pass.

    Reads folders of save-acts (their rows are mixed), or with --source stream runs the PRM over
    generated solutions while it trains, without a disk; holds out some problems for the quality
    numbers. Writes <SAE checkpoint dir>/<run>/layer_XX/ with sae.safetensors, cfg.json and
    quality.json. A run that was stopped goes on where its state was saved. On several GPUs, or CPU
    processes: --processes 2. On several machines: torchrun ... -m -- invoke train-sae --distributed
    rows ...
    Sources: TopK and AuxK arXiv 2406.04093, BatchTopK 2412.06410, JumpReLU 2407.14435, Matryoshka
    2503.17547; --freeze 2602.14111.
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
    prm: str = option(
        DEFAULT_PRM, help="with --source stream: hub id or folder of the PRM", model=True
    )
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
    activation: ActivationName = option(
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
    freeze: FreezeName = option(
        "none",
        help=(
            "baseline to set beside a trained SAE: decoder (random directions), soft-decoder"
            " (directions near random ones) or encoder stay as they start"
        ),
    )
    freeze_cosine: float = option(
        0.8, help="with --freeze soft-decoder: least cosine of a direction with its start"
    )
    batch: int | None = option(
        None,
        help=(
            "rows in one batch (default: 4096, or fewer where a run would make less than 300 steps)"
        ),
    )
    epochs: int = option(10, help="passes over the training rows")
    tokens: int | None = option(
        None, help="rows to train on in all, in place of --epochs", at_most=10**15
    )
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
        ActivationFlags.__post_init__(self)
        check_layers(self.layers)
        flag, what = (
            ("ds_names", "folder of save-acts")
            if self.source == "shards"
            else ("generations", "generations file")
        )
        if not getattr(self, flag):
            raise ConfigError(f"{_flag(flag)} is empty; name at least one {what}")
        for name in _AT_LEAST_1:
            self._check(name, lambda value: value >= 1, "at least 1")
        for name in ("aux_alpha", "clip"):
            self._check(name, lambda value: 0 <= value < math.inf, "0 or more")
        for name in ("warmup", "decay"):
            self._check(name, lambda value: 0 <= value < 1, "at least 0 and below 1")
        for name in ("lr", "holdout", "freeze_cosine"):
            self._check(name, lambda value: 0 < value < 1, "above 0 and below 1")

    def _check(self, name: str, is_right: Callable[[Any], bool], wanted: str) -> None:
        value = getattr(self, name)
        if value is not None and not is_right(value):
            raise ConfigError(f"{_flag(name)} {value}: it must be {wanted}")

    def result_settings(self) -> dict[str, Any]:
        """Return the values that change the result.

        What later versions added is there only where it is in use, so that older results stand; the
        smoothed thresholds of older BatchTopK SAEs do not.
        """
        chosen = super().result_settings()
        if self.freeze != "soft-decoder":
            del chosen["freeze_cosine"]
        if self.freeze == "none":
            del chosen["freeze"]
        if ACTIVATIONS[self.activation].calibrates:
            chosen["threshold"] = "of the final weights"
        return chosen


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
