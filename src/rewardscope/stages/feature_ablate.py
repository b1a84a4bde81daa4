"""`feature-ablate`: what a PRM's scores, and what they are good for, become without features of an
SAE, beside random features that are like them.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardscope.errors import ConfigError
from rewardscope.features.ablation_table import AblationRow, FeatureFact
from rewardscope.layers import pick_layers
from rewardscope.log import get_logger, show
from rewardscope.paths import feature_ablate_dir, slug
from rewardscope.sae.model.runs import SaeRun, find_sae
from rewardscope.search.aggregate import AGGREGATION_HELP, Aggregation, aggregate, check_aggregation
from rewardscope.settings import Settings
from rewardscope.stage import Stage, find_required, option
from rewardscope.stages.diffed import diff_tables
from rewardscope.stages.feature_ablate_tables import ablation_table
from rewardscope.stages.feature_choice import Choice, parse_choice
from rewardscope.stages.labelled_solutions import (
    Labelled,
    encode_labelled,
    held_out_only,
    read_labelled,
    solutions_and_prm,
)
from rewardscope.stages.model_flags import ModelFlags, check_model
from rewardscope.storage.tables import columns_of, write_csv

if TYPE_CHECKING:
    from rewardscope.features.ablation_plan import Plan
    from rewardscope.prms.scorer import HfScorer
    from rewardscope.sae.model.inference import Sae


@dataclass(frozen=True, kw_only=True)
class Config(ModelFlags):
    """Take features of an SAE out of a PRM's states and see what becomes of its scores.

    Only what the features write is changed, where they fire; what the SAE does not rebuild stays.
    Change of the step scores, of the AUROC of right steps, of right steps taken for wrong and wrong
    ones taken for right, and of the choice among a problem's traces: of single features, of all
    chosen ones and of each category among them, beside random features matched in firing rate,
    decoder norm and category, and beside the same edit in another SAE. Writes
    feature-ablate/<run>/<source>/.
    """

    ds_name: str = option(
        help=(
            "generations file, or a folder of save-acts made from one, or a ProcessBench or"
            " PRMBench file: a path or a name below the data folder"
        ),
        key=False,
    )
    features: str = option(
        help=(
            "ids 1,2,3; @FILE.csv with a column feature (and layer); favours=reasoning (of"
            " feature-diff); category=whitespace; or the last two with a comma between"
        )
    )
    sae: str | None = option(
        None,
        help="SAE run, or a checkpoint of another library (default: SAE_CHECKPOINT_PATH)",
        key=False,
    )
    baseline: str | None = option(
        None,
        help=(
            "another SAE run of the layer, such as one of train-sae --freeze decoder: the same edit"
            " of its features that are most like the chosen ones"
        ),
        key=False,
    )
    name: str | None = option(
        None, help="stands for the solutions in the folder of the result", key=False
    )
    diff: str | None = option(
        None, help="--name of the feature-diff to use (default: that of the SAE)", key=False
    )
    prm: str | None = option(
        None,
        help="PRM (default: the one that the folder of save-acts, or the SAE, was made with)",
        model=True,
    )
    layer: int | None = option(None, help="layer of the SAE run (default: its only one)")
    edit: str = option(
        "ablate",
        help="of an activation where the feature fires: ablate, mean, resample or scale=FACTOR",
    )
    controls: int = option(20, help="random features, or sets of them, for each that is measured")
    singles: int = option(
        10, help="how many of the chosen features to measure one by one as well, the first ones"
    )
    threshold: float | None = option(
        None,
        help="a right step scores above it (default: the middle of the PRM's range, 0.5 for most)",
    )
    aggregation: Aggregation = option(
        "last", help=f"step scores to one number, for the choice among traces: {AGGREGATION_HELP}"
    )
    problems: Literal["held-out", "all"] = option(
        "held-out",
        help="held-out (those that train-sae did not train on; all where it is not known) or all",
    )
    limit: int = option(200, help="at most this many solutions, the first of the file")
    seed: int = option(0, help="seed of the controls, of resampling and of the bootstrap")

    def __post_init__(self) -> None:
        from rewardscope.features.edit_names import parse_edit

        check_aggregation(self.aggregation)
        parse_choice(self.features)
        parse_edit(self.edit)
        for flag, value, least in (
            ("--limit", self.limit, 1),
            ("--controls", self.controls, 0),
            ("--singles", self.singles, 0),
        ):
            if value < least:
                raise ConfigError(f"{flag} {value}: it must be {least} or more")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ConfigError(f"--threshold {self.threshold}: a number is needed")


def run(config: Config, settings: Settings) -> Path:
    """Measure the chosen features of one layer; return the folder."""
    config, sae = config.revised("prm"), find_sae(config.sae, settings)
    baseline = find_sae(config.baseline, settings) if config.baseline else None
    layer = _layer(config, sae, baseline)
    named = find_required(config.ds_name, settings.data_dir, "infer", suffix=".jsonl")
    source, prm = solutions_and_prm(named, prm=config.prm, sae=sae, flag=config.ds_name)
    choice = parse_choice(config.features)
    parts = _diff_parts(choice, config, sae, settings)
    inputs = {"sae": sae.root, "solutions": source, "prm": prm}
    inputs |= {"baseline": baseline.root} if baseline else {}
    inputs |= {f"diff {number}": part for number, part in enumerate(parts)}
    if choice.table:
        inputs["features"] = find_required(choice.table, settings.data_dir, "feature-diff")
    out = feature_ablate_dir(settings.data_dir, sae.root, config.name or source)
    stage = Stage(
        "feature-ablate", dataclasses.replace(config, prm=prm, layer=layer), inputs=inputs, out=out
    )
    if stage.is_done():
        return out
    check_model("--prm", prm)
    choice = choice.named(settings, layer=layer)
    labelled = held_out_only(
        list(read_labelled(source, check_tinymath=True)),
        sae,
        every_problem=config.problems == "all",
        limit=config.limit,
        task="feature-ablate",
        flag=config.ds_name,
    )
    from rewardscope.prms.scorer import HfScorer
    from rewardscope.storage.effect_files import write_effects

    scorer = HfScorer(prm, device=config.device, dtype=config.dtype)
    saes = _load([sae, *([baseline] if baseline else [])], layer, scorer)
    with stage:
        plan, skipped = _plan(config, choice, parts, scorer, saes, labelled)
        rows, effects = plan.measure()
        tables = stage.work / "results.csv", stage.work / "features.csv"
        write_csv(tables[0], rows, fields=columns_of(AblationRow))
        write_csv(tables[1], plan.feature_facts(), fields=columns_of(FeatureFact))
        files = [*tables, *write_effects(stage.work / "effects.csv", effects)]
        show(ablation_table(rows))
        extra = {"layer": layer, "prm": prm, "features": list(plan.chosen), **plan.counts()}
        stage.finish(files, rows=len(rows), skipped=skipped, extra=extra)
    return out


def _layer(config: Config, sae: SaeRun, baseline: SaeRun | None) -> int:
    """Return the layer. Raises: ConfigError where it is not said, or a run does not have it."""
    if config.layer is None and len(sae.layers) > 1:
        known = ", ".join(map(str, sorted(sae.layers)))
        raise ConfigError(f"--layer is needed: {sae.root} has layers {known}")
    layer = next(iter(sae.layers)) if config.layer is None else config.layer
    for run_ in (sae, *([baseline] if baseline else [])):
        pick_layers(str(layer), sorted(run_.layers))
    return layer


def _diff_parts(choice: Choice, config: Config, sae: SaeRun, settings: Settings) -> list[Path]:
    if choice.favours is None:
        return []
    return diff_tables(
        settings,
        config.diff or sae.root,
        stage="feature-ablate",
        needed_by=f"--features {config.features}",
    )


def _load(runs: list[SaeRun], layer: int, scorer: "HfScorer") -> "list[Sae]":
    """Load the SAEs. Raises: BadRecord where one is of another layer or width."""
    from rewardscope.sae.model.checkpoint import load_sae

    saes = [load_sae(run_.layers[layer], device=scorer.model.device) for run_ in runs]
    for sae in saes:
        sae.check(layer=layer, width=scorer.width, where="the PRM")
    return saes


def _plan(
    config: Config,
    choice: Choice,
    parts: list[Path],
    scorer: "HfScorer",
    saes: "list[Sae]",
    labelled: list[Labelled],
) -> "tuple[Plan, dict[str, int]]":
    """See what fires, choose the features and their controls."""
    from rewardscope.features.ablation_plan import Plan
    from rewardscope.features.edit_names import parse_edit
    from rewardscope.interventions.outcomes import middle_of

    solutions, skipped = encode_labelled(labelled, scorer, task="feature-ablate")
    threshold = config.threshold
    if threshold is None:
        threshold = middle_of(scorer.adapter.score_range)
    plan = Plan(
        scorer,
        saes,
        solutions,
        edit=parse_edit(config.edit),
        threshold=threshold,
        aggregate=partial(aggregate, how=config.aggregation),
        seed=config.seed,
    )
    chosen = choice.pick(
        layer=saes[0].layer, n_features=saes[0].n_features, categories=plan.categories, parts=parts
    )
    silent = plan.choose(chosen, singles=config.singles, n_controls=config.controls)
    if silent:
        get_logger().info(
            f"feature-ablate: {silent} of {len(chosen)} chosen features fire nowhere in the"
            f" {len(solutions)} solutions of {slug(config.ds_name)}"
        )
        skipped = skipped | {"chosen features that fire nowhere": silent}
    return plan, skipped
