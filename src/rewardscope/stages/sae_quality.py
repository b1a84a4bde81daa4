"""`sae-quality`: how good the SAEs of a run are on solutions: variance left, and what the PRM's
rewards keep of them.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import show
from rewardscope.paths import sae_quality_dir, sae_quality_file
from rewardscope.sae.model.runs import find_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, find_required, option
from rewardscope.stages.labelled_solutions import (
    encode_labelled,
    held_out_only,
    read_labelled,
    solutions_and_prm,
)
from rewardscope.stages.model_flags import ModelFlags, check_model
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import show_table

if TYPE_CHECKING:
    from rewardscope.records import Estimate
    from rewardscope.sae.measure.reward_kept import Measured


@dataclass(frozen=True, kw_only=True)
class Config(ModelFlags):
    """Measure SAEs on solutions: FVU, L0, dead features, and how much of the rewards is kept with
    the SAE in the path.

    The PRM is run again with the states of one layer, at all tokens of the solution, replaced by
    the SAE's reconstruction; the changes of its step scores stand beside those of setting the
    states to zero and to their mean. A step counts as right where its trace is (generations), or by
    its own label (ProcessBench, PRMBench). Writes sae-quality/<run>/<source>/quality.json.
    """

    ds_name: str = option(
        help=(
            "generations file, or a folder of save-acts made from one, or a ProcessBench or"
            " PRMBench file: a path or a name below the data folder"
        ),
        key=False,
    )
    sae: str | None = option(
        None,
        help="SAE run, or a checkpoint of another library (default: SAE_CHECKPOINT_PATH)",
        key=False,
    )
    name: str | None = option(
        None, help="stands for the solutions in the folder of the result", key=False
    )
    prm: str | None = option(
        None,
        help="PRM (default: the one that the folder of save-acts, or the SAE, was made with)",
        model=True,
    )
    layers: str = option("all", help="layers: all, 15, 0-27 or 0,3,5-7")
    problems: Literal["held-out", "all"] = option(
        "held-out",
        help="held-out (those that train-sae did not train on; all where it is not known) or all",
    )
    limit: int = option(1000, help="at most this many solutions, the first of the file")
    seed: int = option(0, help="seed of the bootstrap over problems")

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if self.limit < 1:
            raise ConfigError(f"--limit {self.limit}: at least 1 solution is needed")


def run(config: Config, settings: Settings) -> Path:
    """Measure every layer; return the file of results."""
    config, sae = config.revised("prm"), find_sae(config.sae, settings)
    named = find_required(config.ds_name, settings.data_dir, "infer", suffix=".jsonl")
    source, prm = solutions_and_prm(named, prm=config.prm, sae=sae, flag=config.ds_name)
    folder = sae_quality_dir(settings.data_dir, sae.root, config.name or source)
    stage = Stage(
        "sae-quality",
        dataclasses.replace(config, prm=prm),
        inputs={"sae": sae.root, "solutions": source, "prm": prm},
        out=folder,
    )
    if stage.is_done():
        return sae_quality_file(folder)
    from rewardscope.prms.scorer import HfScorer
    from rewardscope.sae.measure.reward_kept import measure_reward_kept
    from rewardscope.sae.model.checkpoint import load_sae

    check_model("--prm", prm)
    layers = pick_layers(config.layers, sorted(sae.layers))
    labelled = held_out_only(
        list(read_labelled(source)),
        sae,
        every_problem=config.problems == "all",
        limit=config.limit,
        task="sae-quality",
        flag=config.ds_name,
    )
    scorer = HfScorer(prm, device=config.device, dtype=config.dtype)
    solutions, skipped = encode_labelled(labelled, scorer, task="sae-quality")
    saes = {layer: load_sae(sae.layers[layer], device=scorer.model.device) for layer in layers}
    with stage:
        measured = measure_reward_kept(scorer, saes, solutions, seed=config.seed)
        rows = [
            {"quality": dataclasses.asdict(m.quality), "reward": dataclasses.asdict(m.reward)}
            for m in measured.values()
        ]
        write_json(sae_quality_file(stage.work), rows)
        show(show_measured(list(measured.values())))
        extra = {"layers": list(layers), "prm": prm, "solutions": len(solutions)}
        stage.finish([sae_quality_file(stage.work)], rows=len(rows), skipped=skipped, extra=extra)
    return sae_quality_file(folder)


def show_measured(measured: "list[Measured]") -> str:
    """Lay out one line a layer: the SAE beside the ablations."""

    def number(estimate: "Estimate | None", form: str = ".3f") -> str:
        return "-" if estimate is None else f"{estimate.value:{form}}"

    header = (
        "layer",
        "FVU",
        "L0",
        "dead",
        "change: SAE",
        "mean",
        "zero",
        "kept of mean",
        "of zero",
        "Spearman: SAE",
        "mean",
        "zero",
        "same side: SAE",
        "mean",
        "zero",
        "AUROC",
        "SAE",
        "mean",
        "zero",
        "steps",
        "problems",
    )
    rows = []
    for quality, reward in ((each.quality, each.reward) for each in measured):
        three = (reward.sae, reward.mean, reward.zero)
        rows.append(
            (
                reward.layer,
                number(quality.fvu, ".4f"),
                number(quality.l0, ".1f"),
                number(quality.dead_share),
                *(number(change.difference, ".4f") for change in three),
                number(reward.share_of_mean),
                number(reward.share_of_zero),
                *(number(change.spearman) for change in three),
                *(number(change.agreement) for change in three),
                number(reward.auroc),
                *(number(change.auroc_change, "+.4f") for change in three),
                reward.n_steps,
                reward.n_problems,
            )
        )
    return show_table(header, rows)
