"""`sae-quality`: how good the SAEs of a run are on solutions: variance left, and what the PRM's
rewards keep of them.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.layers import check_layers, pick_layers
from rewardscope.log import get_logger, show
from rewardscope.paths import find_input, sae_quality_dir, sae_quality_file
from rewardscope.records import Manifest, Problem, Trace
from rewardscope.sae.formats import CONFIG
from rewardscope.sae.formats.configs import TrainedWith, read_config
from rewardscope.sae.model.runs import SaeRun, find_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, option, require
from rewardscope.stages.model_flags import ModelFlags, check_model
from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import read_rows, read_solved
from rewardscope.storage.manifests import read_manifest
from rewardscope.storage.tables import show_table

if TYPE_CHECKING:
    from rewardscope.prms.scorer import HfScorer
    from rewardscope.records import Estimate
    from rewardscope.sae.measure.reward_kept import Measured, Solution

# whether each step is right (1), wrong (0) or unknown (-1)
Labelled = tuple[Problem, Trace, tuple[int, ...]]


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
        None, help="PRM (default: the one that the folder of save-acts, or the SAE, was made with)"
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
    named = require(
        find_input(config.ds_name, settings.data_dir, suffix=".jsonl"), config.ds_name, "infer"
    )
    source, prm = _origin(named, config, sae)
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
    labelled = _chosen(list(_read(source)), sae, config)
    scorer = HfScorer(prm, device=config.device, dtype=config.dtype)
    solutions, skipped = _encode(labelled, scorer)
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


def _origin(named: Path, config: Config, sae: SaeRun) -> tuple[Path, str]:
    """Return the file of solutions and the PRM. Raises: MissingInput, ConfigError."""
    captured = {}
    if named.is_dir():
        captured = (read_manifest(named) or Manifest()).extra
        if "generations" not in captured:
            raise MissingInput(
                f"{named} is no finished folder of save-acts; name one, or a generations file"
            )
        if captured.get("mode", "rm") != "rm":
            raise ConfigError(
                f"{named} holds the states of a policy, which has no rewards; name one of save-acts"
                " --mode rm"
            )
        named = require(Path(captured["generations"]), captured["generations"], "infer")
    prm = config.prm or captured.get("prm") or _trained_with(sae)
    if prm is None:
        raise ConfigError(
            f"--ds-name {config.ds_name}: neither it nor the SAE says which PRM; pass --prm"
        )
    return named, prm


def _trained_with(sae: SaeRun) -> str | None:
    first = next(iter(sae.layers.values()))
    config = (first if first.is_dir() else first.parent) / CONFIG
    found = read_config(config, TrainedWith) if config.is_file() else TrainedWith()
    return found.metadata.prm or found.metadata.model_name


def _read(source: Path) -> Iterator[Labelled]:
    """Yield solutions with what is known of their steps."""
    from rewardscope.problems.prm_benchmarks import (
        PRMBENCH_FIELDS,
        PROCESSBENCH_FIELDS,
        read_benchmark,
    )

    first = next(iter(read_rows(source)), {})
    if any(set(fields) <= first.keys() for fields in (PROCESSBENCH_FIELDS, PRMBENCH_FIELDS)):
        for solution in read_benchmark(source).solutions:
            question = solution.question
            problem = Problem(id=question, dataset=solution.benchmark, question=question, answer="")
            trace = Trace(
                problem_id=solution.id,
                index=0,
                steps=solution.steps,
                scores=None,
                finish="eos",
                n_tokens=None,
                labels=solution.labels,
            )
            yield problem, trace, _as_numbers(solution.labels)
        return
    for solved in read_solved(source):
        for trace in solved.traces:
            labels = trace.labels or (trace.correct,) * len(trace.steps)
            yield solved.problem, trace, _as_numbers(labels)


def _as_numbers(labels: Sequence[bool | None]) -> tuple[int, ...]:
    return tuple(-1 if label is None else int(label) for label in labels)


def _chosen(labelled: list[Labelled], sae: SaeRun, config: Config) -> list[Labelled]:
    """Return the first solutions of held-out problems. Raises: MissingInput where there is none."""
    held_out = (read_manifest(sae.root) or Manifest()).extra.get("held_out_problems")
    if config.problems == "held-out":
        if held_out is None:
            get_logger().info(
                f"sae-quality: {sae.root} does not say which problems were held out; all are"
                " measured"
            )
        else:
            labelled = [row for row in labelled if row[0].id in set(held_out)]
    if not labelled:
        raise MissingInput(
            f"{config.ds_name}: none of its problems was held out by {sae.root}; pass"
            " --problems all"
        )
    return labelled[: config.limit]


def _encode(
    labelled: list[Labelled], scorer: "HfScorer"
) -> "tuple[list[Solution], dict[str, int]]":
    """Return the solutions that the PRM can score, and how many it cannot, by reason.

    Raises: MissingInput where it can score none.
    """
    from rewardscope.capturing.inputs import PrmEncoder
    from rewardscope.sae.measure.reward_kept import Solution

    encoder = PrmEncoder(scorer.adapter, scorer.tokenizer, max_positions=scorer.max_positions)
    solutions, skipped, example = [], Counter[str](), ""
    for problem, trace, right in labelled:
        try:
            encoded = encoder.encode(problem.question, trace)
        except BadRecord as error:
            skipped["not encodable by the PRM"] += 1
            example = example or f"; the first: {error}"
            continue
        solutions.append(Solution(problem.id, encoded, encoder.start(problem.question), right))
    if not solutions:
        raise MissingInput(
            f"sae-quality: the PRM can score none of {len(labelled)} solutions{example}"
        )
    if skipped:
        get_logger().warning(
            f"sae-quality: left out {skipped.total()} of {len(labelled)} solutions{example}"
        )
    return solutions, dict(skipped)


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
    for quality, reward in measured:
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
