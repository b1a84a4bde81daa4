"""`reward-patterns`: how a PRM's step scores run along right and wrong traces, how far they
forecast the answer, what biases them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardscope import paths
from rewardscope.errors import ConfigError, MissingInput
from rewardscope.log import show
from rewardscope.records import PatternBin
from rewardscope.search.aggregate import aggregate
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, distinct, find_required, option
from rewardscope.stages.named_scores import SCORES_HELP
from rewardscope.stages.patterns_tables import patterns_tables
from rewardscope.stages.scored_traces import (
    By,
    ScoredTraces,
    policy_of,
    read_folder,
    read_generations,
)
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import columns_of, write_csv

if TYPE_CHECKING:
    from rewardscope.probes.patterns import ScoredTrace

FORECASTS = ("last", "min", "mean", "prod")
IN_WINDOW, BEYOND = "inside", "beyond"


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Show how step scores run along right and wrong traces, by policy.

    Reads folders of save-acts, or generations files with scores (of infer-with-prm, or imported,
    where --scores names the PRM and --by may tell the traces apart). Mean score
    against relative position, step length and step count; the scores as forecasts of a right answer
    (reliability, calibration error, Brier score); rank correlation of score with position, length
    and count at fixed correctness. Traces beyond the PRM's window stand apart. Writes patterns.csv
    and report.json to <data dir>/reward-patterns/<names>/.
    """

    ds_names: tuple[str, ...] = option(
        help="folders of save-acts or generations files with scores, separated by commas", key=False
    )
    base_dir: Path | None = option(
        None,
        help="where --ds-names are looked for (default: the data folder of the settings)",
        key=False,
    )
    name: str | None = option(None, help="name of the result's folder", key=False)
    scores: str | None = option(None, help=SCORES_HELP)
    by: By = option("file", help="series of imported traces: file, generator, style or subset")
    bins: int = option(8, help="bins of position, step length and step count", at_most=1000)
    seed: int = option(0, help="seed of the bootstrap over problems")

    def __post_init__(self) -> None:
        if not self.ds_names:
            raise ConfigError("--ds-names: at least one folder of save-acts is needed")
        if not 2 <= self.bins <= 100:
            raise ConfigError(f"--bins {self.bins}: it must be 2 to 100")


def run(config: Config, settings: Settings) -> Path:
    """Read, count and write; return the folder."""
    base = config.base_dir or settings.data_dir
    found = [find_required(name, base, "save-acts", suffix=".jsonl") for name in config.ds_names]
    distinct("--ds-names", config.ds_names, [Path(policy_of(path)) for path in found])
    if any(path.is_dir() for path in found) and (config.scores or config.by != "file"):
        raise ConfigError(
            "--scores and --by are of generations files; a folder of save-acts has one policy and"
            " the scores of one PRM"
        )
    out = paths.reward_patterns_dir(base, found, config.name)
    stage = Stage(
        "reward-patterns", config, inputs={policy_of(path): path for path in found}, out=out
    )
    if stage.is_done():
        return out
    sources = [
        source
        for path in found
        for source in (
            [read_folder(path)]
            if path.is_dir()
            else read_generations(path, scores=config.scores, by=config.by)
        )
    ]
    for source in sources:
        if not source.traces:
            raise MissingInput(
                f"{source.policy}: none of {source.without_scores} traces has scores; run invoke"
                " save-acts or infer-with-prm, or import them with scores"
            )
    if len({source.policy for source in sources}) < len(sources):
        raise ConfigError(f"--by {config.by}: a {config.by} is in several files; name one file")
    if len({source.unit for source in sources}) > 1:
        raise ConfigError(
            "--ds-names: folders give step lengths in tokens, generations files in characters; name"
            " one kind only"
        )
    with stage:
        bins, report = _bins(sources, config), _report(sources, config)
        patterns, summary = stage.work / "patterns.csv", stage.work / "report.json"
        write_csv(patterns, bins, fields=columns_of(PatternBin))
        write_json(summary, report)
        show(patterns_tables(report))
        skipped = {"traces without scores": sum(source.without_scores for source in sources)}
        stage.finish(
            [patterns, summary],
            rows=len(bins),
            skipped={k: v for k, v in skipped.items() if v},
            extra={"unit": sources[0].unit},
        )
    return out


def _groups(source: ScoredTraces) -> "list[tuple[str, list[ScoredTrace]]]":
    """Return the traces inside the PRM's window and those beyond it, where there are any."""
    sides = ((IN_WINDOW, True), (BEYOND, False))
    parted = [
        (name, [trace for trace in source.traces if trace.in_window is side])
        for name, side in sides
    ]
    return [(name, traces) for name, traces in parted if traces]


def _bins(sources: Sequence[ScoredTraces], config: Config) -> list[PatternBin]:
    """Return the mean scores by bin; the bins are the same for all policies."""
    import numpy as np

    from rewardscope.probes.patterns import (
        ANSWERS,
        COUNT,
        LENGTH,
        POSITION,
        bin_edges,
        mean_scores,
        steps_of,
    )

    everything = steps_of(trace for source in sources for trace in source.traces)
    edges = {
        POSITION: np.linspace(0, 1, config.bins + 1),
        COUNT: bin_edges(everything.count, bins=config.bins),
    }
    if np.isfinite(everything.length).any():
        edges[LENGTH] = bin_edges(everything.length, bins=config.bins)
    rows = []
    for source in sources:
        for window, traces in _groups(source):
            for correct, answer in ANSWERS.items():
                steps = steps_of(trace for trace in traces if trace.correct is correct)
                names = {
                    "policy": source.policy,
                    "window": window,
                    "answer": answer,
                    "seed": config.seed,
                }
                rows += [
                    row
                    for what, cuts in edges.items()
                    for row in mean_scores(steps, what, cuts, **names)
                ]
    return rows


def _report(sources: Sequence[ScoredTraces], config: Config) -> dict[str, Any]:
    """Return counts, calibration and bias of each policy."""
    counts, calibration, bias = [], [], []
    for source in sources:
        for window, traces in _groups(source):
            names = {"policy": source.policy, "window": window}
            answers = Counter(trace.correct for trace in traces)
            counts.append(
                {
                    **names,
                    "traces": len(traces),
                    "right": answers[True],
                    "wrong": answers[False],
                    "unknown": answers[None],
                    "steps": sum(len(trace.scores) for trace in traces),
                    "problems": len({trace.problem for trace in traces}),
                }
            )
            calibration += [{**names, **found} for found in _calibration(traces, config)]
            bias += [{**names, **found} for found in _bias(traces, config)]
    return {
        "step_length_unit": sources[0].unit,
        "counts": counts,
        "calibration": calibration,
        "bias": bias,
    }


def _calibration(traces: "list[ScoredTrace]", config: Config) -> list[dict[str, Any]]:
    """Return how well each step score, and each way to one score a trace, forecasts a right answer.

    Needs scores from 0 to 1.
    """
    import numpy as np

    from rewardscope.probes.patterns import calibrate

    known = [trace for trace in traces if trace.correct is not None]
    if not known or not all(0 <= score <= 1 for trace in known for score in trace.scores):
        return []
    forecasts = {"each step": [(score, trace) for trace in known for score in trace.scores]}
    forecasts |= {
        how: [(aggregate(trace.scores, how), trace) for trace in known] for how in FORECASTS
    }
    found = []
    for name, rows in forecasts.items():
        problem = np.unique([trace.problem for _, trace in rows], return_inverse=True)[1]
        right = np.array([float(bool(trace.correct)) for _, trace in rows])
        c = calibrate(np.array([score for score, _ in rows]), right, problem, seed=config.seed)
        curve = [{**bin_._asdict(), "right": asdict(bin_.right)} for bin_ in c.curve]
        numbers = {
            "ece": asdict(c.ece),
            "ece_calibrated": c.ece_calibrated,
            "brier": asdict(c.brier),
            "auroc": None if c.auroc is None else asdict(c.auroc),
        }
        found.append(
            {
                "forecast": name,
                "rows": len(rows),
                "share_right": float(right.mean()),
                **numbers,
                "reliability": curve,
            }
        )
    return found


def _bias(traces: "list[ScoredTrace]", config: Config) -> list[dict[str, Any]]:
    """Return the rank correlation of the step score with position, length and count, among right
    and among wrong traces.
    """
    from rewardscope.probes.patterns import (
        ANSWERS,
        COUNT,
        LENGTH,
        POSITION,
        rank_correlation,
        steps_of,
    )

    found = []
    for correct, answer in ANSWERS.items():
        steps = steps_of(trace for trace in traces if trace.correct is correct)
        for what in (POSITION, LENGTH, COUNT):
            spearman = rank_correlation(
                steps.score, steps.by(what), steps.problem, seed=config.seed
            )
            if spearman is not None:
                found.append(
                    {
                        "answer": answer,
                        "against": what,
                        "steps": len(steps.score),
                        "spearman": asdict(spearman),
                    }
                )
    return found
