"""`inject`: whether a feature's tokens alone bring its activation back in non-reasoning text."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rewardscope.errors import ConfigError, UnknownName
from rewardscope.features.injection_table import (
    STRATEGY_FIELDS,
    VERDICT_FIELDS,
    VERDICT_SHARE_FIELDS,
    StrategyRow,
    VerdictRow,
)
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import show
from rewardscope.paths import injection_dir, slug
from rewardscope.sae.model.runs import SaeRun, find_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, find_required, option
from rewardscope.stages.diffed import diff_tables
from rewardscope.stages.inject_inputs import (
    Source,
    check_folder,
    chosen_features,
    generations_of,
    load_source,
    model_of,
    read_texts,
)
from rewardscope.stages.inject_tables import (
    feature_effects,
    show_verdicts,
    strategy_rows,
    verdict_row,
    verdict_shares,
)
from rewardscope.stages.model_flags import DeviceFlag
from rewardscope.storage.tables import write_csv

if TYPE_CHECKING:
    from rewardscope.features.injection import Text
    from rewardscope.statistics.effects import Effect
    from rewardscope.storage.acts import ActStore


@dataclass(frozen=True, kw_only=True)
class Config(DeviceFlag):
    """Put the top tokens, bigrams and trigrams of SAE features into non-reasoning text.

    The model runs on the text with them, and with random ones of like frequency as control. Says of
    each feature whether they bring its activation on reasoning back: token-driven, partly,
    context-dependent or undecided. Both folders hold every token. Writes verdicts.csv, shares.csv,
    strategies.csv and effects.csv below <data dir>/features/<sae>/inject/<name>/.
    """

    reasoning: str = option(help="folder of save-acts of reasoning traces, with all tokens")
    instruct: str = option(help="folder of save-acts of other traces, with all tokens")
    sae: str | None = option(
        None, help="SAE run, layer folder or file (default: SAE_CHECKPOINT_PATH)", key=False
    )
    prm: str | None = option(
        None, help="model of the states (default: what the folders say)", key=False
    )
    name: str | None = option(
        None, help="name of the result's folder (default: that of both folders)", key=False
    )
    diff: str | None = option(
        None, help="--name of the feature-diff to use (default: that of the SAE)", key=False
    )
    layers: str = option("all", help="layers of the SAE run: all, 15, 0-27 or 0,3,5-7")
    features: tuple[int, ...] = option(
        (), help="features of one layer (default: those that favour reasoning by feature-diff)"
    )
    top: int = option(50, help="of those, at most this many of each layer")
    texts: int = option(64, help="instruct solutions to put tokens into, of as many problems")
    per_100: float = option(
        4.0, help="n-grams put in for 100 tokens; one a window, so it sets the windows' length"
    )
    min_count: int = option(5, help="how often an n-gram must come in the reasoning text")
    seed: int = option(0, help="seed of places, of what is put in, and of the bootstrap")

    def __post_init__(self) -> None:
        check_layers(self.layers)
        for name in ("top", "texts", "min_count"):
            if getattr(self, name) < 1:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{flag} {getattr(self, name)}: it must be at least 1")
        if not 0 < self.per_100 <= 50:
            raise ConfigError(f"--per-100 {self.per_100}: it must be above 0 and at most 50")
        if any(feature < 0 for feature in self.features):
            raise ConfigError(f"--features {self.features}: they are counted from 0")

    @property
    def window(self) -> int:
        """Tokens of a window, each of which gets one n-gram."""
        return max(2, round(100 / self.per_100))


class Work(NamedTuple):
    """What every layer needs."""

    reasoning: "ActStore"
    source: Source
    texts: "list[Text]"
    stage: Stage
    config: Config


class Found(NamedTuple):
    """Rows of the tables, of one layer or of all."""

    strategies: list[StrategyRow]
    verdicts: list[VerdictRow]
    effects: "list[Effect]"


def run(config: Config, settings: Settings) -> Path:
    """Inject into each layer's features; return the folder of the tables."""
    from rewardscope.models.device import pick_device
    from rewardscope.storage.acts import ActStore

    sae = find_sae(config.sae, settings)
    folders = [
        find_required(name, settings.data_dir, "save-acts")
        for name in (config.reasoning, config.instruct)
    ]
    stores = [ActStore(folder) for folder in folders]
    layers = pick_layers(config.layers, sorted(sae.layers))
    for store in stores:
        check_folder(store)
        store.check_layers(layers)
    model = model_of(stores[0], model_of(stores[1], config.prm))
    needed_by = None if config.features else "choosing features (or name some with --features)"
    named_diff = config.diff or sae.root
    parts = (
        []
        if config.features
        else diff_tables(settings, named_diff, stage="inject", needed_by=needed_by)
    )
    pair = (slug(folders[0]), slug(folders[1]))
    chosen = chosen_features(parts, layers, config.features, pair=pair, top=config.top)
    named = dataclasses.replace(config, reasoning=pair[0], instruct=pair[1])
    inputs = {"sae": sae.root, "reasoning": folders[0], "instruct": folders[1], "model": model}
    inputs |= {"generations": generations_of(stores[1])}
    inputs |= {f"diff {number}": path for number, path in enumerate(parts)}
    out = injection_dir(settings.data_dir, sae.root, folders, config.name)
    stage = Stage("inject", named, inputs=inputs, out=out)
    if stage.is_done():
        return out
    with stage:
        source = load_source(model, stores[1].info.mode, pick_device(config.device))
        texts, skipped = read_texts(stores[1], source, limit=config.texts, room=config.window)
        work = Work(stores[0], source, texts, stage, config)
        found = _of_layers(chosen, sae, work)
        kept = [_kept(stage, layer) for layer in chosen]
        files = [*_write(stage.work, found), *kept]
        stage.finish(files, rows=len(found.verdicts), skipped=skipped, extra={"texts": len(texts)})
    show(show_verdicts(found.verdicts, verdict_shares(found.verdicts)))
    return out


def _of_layers(chosen: dict[int, list[int]], sae: SaeRun, work: Work) -> Found:
    found = Found([], [], [])
    for layer, features in chosen.items():
        for table, rows in zip(found, _of_layer(layer, features, sae, work), strict=True):
            table += rows
    return found


def _of_layer(layer: int, features: Sequence[int], run: SaeRun, work: Work) -> Found:
    """Find what to inject, inject it, and judge each feature."""
    import torch

    from rewardscope.capturing.token_text import token_reader
    from rewardscope.features.firing import open_data_set
    from rewardscope.features.injection import judge, read_injected, reasoning_peaks, write_injected
    from rewardscope.features.injection_forward import measure
    from rewardscope.features.injection_units import find_units, read_fired
    from rewardscope.prms.scorer import TOKEN_BUDGET
    from rewardscope.sae.model.checkpoint import load_sae

    config, store, model = work.config, work.reasoning, work.source.model
    sae = load_sae(run.layers[layer], device=model.device)
    for feature in features:
        if feature >= sae.n_features:
            raise UnknownName(
                f"feature of layer {layer}", str(feature), [f"0 to {sae.n_features - 1}"]
            )
    data = open_data_set(slug(store.folder), store)
    fired = read_fired(data, sae, features, device=model.device)
    units = find_units(fired, min_count=config.min_count, seed=config.seed)
    kept = _kept(work.stage, layer)
    if work.stage.reuse(kept):
        injected = read_injected(kept)
    else:
        injected = measure(
            model,
            sae,
            work.texts,
            features,
            units,
            size=config.window,
            seed=config.seed,
            dtype=getattr(torch, store.info.dtype or "float32"),
            batch_tokens=TOKEN_BUDGET[model.device.type],
        )
        write_injected(kept, injected)
    peaks, read = reasoning_peaks(fired, size=config.window), token_reader(work.source.tokenizer)
    found = Found([], [], [])
    for place, feature in enumerate(features):
        outcome = judge(peaks, injected, place, seed=config.seed)
        where = (layer, feature, place, outcome)
        found.strategies.extend(strategy_rows(*where, units[place], injected, read))
        found.verdicts.append(verdict_row(layer, feature, outcome))
        found.effects.extend(feature_effects(*where, injected, seed=config.seed))
    return found


def _kept(stage: Stage, layer: int) -> Path:
    """Return where the sums of a layer are kept, from which a killed run goes on."""
    return stage.work / f"layer_{layer:02d}.npz"


def _write(folder: Path, found: Found) -> list[Path]:
    from rewardscope.storage.effect_files import write_effects

    tables = {
        "verdicts.csv": (found.verdicts, VERDICT_FIELDS),
        "shares.csv": (verdict_shares(found.verdicts), VERDICT_SHARE_FIELDS),
        "strategies.csv": (found.strategies, STRATEGY_FIELDS),
    }
    for name, (rows, fields) in tables.items():
        write_csv(folder / name, rows, fields=fields)
    return [
        *(folder / name for name in tables),
        *write_effects(folder / "effects.csv", found.effects),
    ]
