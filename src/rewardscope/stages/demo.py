"""`demo`: the whole chain on the shipped models, on the CPU, then a table of what was made."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rewardscope.errors import MissingInput
from rewardscope.log import get_logger, show
from rewardscope.paths import TINY, acts_dir, dash_dir, figures_dir, generations_file, slug
from rewardscope.search.methods import METHODS
from rewardscope.settings import Settings
from rewardscope.stage import StageConfig, option
from rewardscope.stages import (
    dash,
    feature_ablate,
    feature_diff,
    feature_label,
    figures,
    infer,
    infer_with_prm,
    metrics,
    perturb,
    probe_transfer,
    reward_patterns,
    save_acts,
    train_linreg,
    train_sae,
)
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import show_table

DATASET = "tinymath"
SEARCH = METHODS["beam"]
SAE_RUN = "tiny-prm-sae"
ABLATED_LAYER = 4  # of 6: what follows it still reads the features


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Run the whole chain on the shipped models, on the CPU.

    Two policies, one that writes short plain steps and one that reasons at length, solve word
    problems alone and with a PRM's guidance; then the PRM's scores and hidden states are compared,
    probed, taken apart by SAEs, changed and shown.
    """

    limit: int = option(60, help="problems")


def run(config: Config, settings: Settings) -> Path:
    """Run every stage of the chain below `<data dir>/demo`; print what was made.

    Raises: MissingInput.
    """
    if not (TINY / "tiny-prm").is_dir():
        raise MissingInput(f"{TINY} has no models; make them with invoke tiny")
    settings = demo_settings(settings)
    started, rows = time.perf_counter(), []
    steps = chain(config, settings)
    for number, (name, task) in enumerate(steps, start=1):
        get_logger().info(f"[{number}/{len(steps)}] {name}")
        made = task()
        for path in made if isinstance(made, list) else [made]:
            manifest = read_finished(path)
            rows.append((name, manifest.rows, f"{manifest.seconds:.1f}", _short(path)))
    show(show_table(("stage", "rows", "seconds", "output"), rows))
    show(f"\ndashboard  {_short(dash_dir(settings.data_dir, Path(SAE_RUN)) / 'index.html')}")
    show(f"figures    {_short(figures_dir(settings.data_dir))}")
    show(f"in all     {time.perf_counter() - started:.1f} s")
    return settings.data_dir


def demo_settings(settings: Settings) -> Settings:
    """Return the settings with every output below `<data dir>/demo`."""
    home = settings.data_dir / "demo"
    return dataclasses.replace(
        settings, data_dir=home, sae_checkpoint_dir=home / "checkpoints", sae_checkpoint_path=None
    )


def chain(config: Config, settings: Settings) -> list[tuple[str, Callable[[], Path | list[Path]]]]:
    """Return the stages of the demo in order, each with its name and a function that runs it."""
    policies = [str(TINY / name) for name in ("tiny-instruct", "tiny-reasoner")]
    prm, force = str(TINY / "tiny-prm"), config.force
    alone = [generations_file(settings.data_dir, policy, DATASET) for policy in policies]
    guided = [
        generations_file(settings.data_dir, policy, DATASET, suffix=SEARCH.suffix)
        for policy in policies
    ]
    greedy_names = [f"{slug(policy)}-greedy" for policy in policies]
    greedy = [generations_file(settings.data_dir, name, DATASET) for name in greedy_names]
    acts = [str(acts_dir(settings.data_dir, "rm", path)) for path in alone]
    instruct, reasoner = acts
    planned: list[StageConfig] = []
    for policy, name in zip(policies, greedy_names, strict=True):
        common = {
            "model_name": policy,
            "datasets": (DATASET,),
            "limit": config.limit,
            "engine": "hf",
            "force": force,
        }
        planned += [
            infer.Config(**common, n=4, max_tokens=512),
            infer.Config(**common, name=name, max_tokens=512),
            infer_with_prm.Config(**common, prm=prm, search=SEARCH.name, n=8, width=4),
        ]
    planned += [metrics.Config(dataset=str(path), force=force) for path in (*alone, *greedy)]
    for path, *others in zip(guided, alone, greedy, strict=True):
        compared_to = tuple(map(str, others))
        planned.append(metrics.Config(dataset=str(path), against=compared_to, force=force))
    planned += [
        save_acts.Config(ds_name=str(path), prm=prm, positions="all-tokens", force=force)
        for path in alone
    ]
    targets = ("reward", "correct")
    planned += [
        train_linreg.Config(ds_name=name, target=target, force=force)
        for name in acts
        for target in targets
    ]
    planned += [
        probe_transfer.Config(ds_names=(*acts,), target=target, force=force) for target in targets
    ]
    sae = str(settings.sae_checkpoint_dir / SAE_RUN)
    planned += [
        reward_patterns.Config(ds_names=(*acts,), force=force),
        train_sae.Config(ds_names=(instruct, reasoner), run=SAE_RUN, force=force),
        feature_diff.Config(
            reasoning=(reasoner,), instruct=(instruct,), sae=sae, part=1, total=1, force=force
        ),
        feature_label.Config(ds_names=(instruct, reasoner), sae=sae, force=force),
        feature_ablate.Config(
            ds_name=str(alone[1]),
            features="favours=reasoning",
            sae=sae,
            prm=prm,
            layer=ABLATED_LAYER,
            singles=0,
            force=force,
        ),
        perturb.Config(datasets=(DATASET,), prm=prm, limit=config.limit, force=force),
        dash.Config(ds_names=(instruct, reasoner), sae=sae, force=force),
        figures.Config(force=force),
    ]
    from rewardscope.stages.table import STAGES  # which holds the demo as well

    named = {entry.config_class: (name, entry.run) for name, entry in STAGES.items()}
    return [
        (name, lambda run=run, config=config: run(config, settings))
        for config in planned
        for name, run in (named[type(config)],)
    ]


def _short(path: Path) -> str:
    """Return the path from the working directory where it lies below it."""
    resolved = path.resolve()
    return (
        str(resolved.relative_to(Path.cwd()))
        if resolved.is_relative_to(Path.cwd())
        else str(resolved)
    )
