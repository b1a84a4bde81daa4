"""The report of `prm-bench`, from the scores that are kept."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rewardscope.log import get_logger, show
from rewardscope.paths import prm_bench_report_file, prm_bench_scores_file, slug
from rewardscope.records import Estimate
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages.prm_bench_rows import with_scores
from rewardscope.stages.prm_bench_scoring import REPEATED, UNLABELLED, threshold_of
from rewardscope.stages.prm_bench_tables import benchmark_table
from rewardscope.storage.files import write_json
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import read_json

if TYPE_CHECKING:
    from rewardscope.problems.prm_benchmark_metrics import ScoredSolution
    from rewardscope.problems.prm_benchmarks import LabelledSolutions

BEYOND = "item with a wrong step after its last one, which counts for nothing"
_NAMED = 10  # ids of a warning


class Kept(NamedTuple):
    """A file of kept scores, and what it is scores of."""

    path: Path
    labelled: "LabelledSolutions"

    @property
    def name(self) -> str:
        return slug(self.path)


def report(
    kept: Sequence[Kept],
    config: StageConfig,
    *,
    prm: str,
    others: Sequence[Path],
    threshold: float | None,
    seed: int,
    out: Path,
) -> Path:
    """Compute the metrics from the kept scores, write and print them.

    It takes seconds, so it is always made anew.
    """
    from rewardscope.probes.step_errors import step_report
    from rewardscope.problems.prm_benchmark_report import report as benchmark_report

    files = [each.path for each in kept] + [
        path for folder in others for path in _files_of(folder, kept)
    ]
    stage = Stage(
        "prm-bench-report",
        dataclasses.replace(config, force=True),
        inputs={f"{path.parent.name}/{slug(path)}": path for path in files},
        out=out,
    )
    stage.is_done()
    with stage:
        extras = {each.name: read_finished(each.path).extra for each in kept}
        bounds = next(iter(extras.values()))["score_range"]
        threshold = threshold_of(threshold, bounds, prm=prm)
        scored = _scored(kept, within=False)
        within = _scored(kept, within=True)
        _say_what_is_left_out(kept)
        bounded = all(0 <= score <= 1 for _, scores in scored for score in scores)
        found = {
            "prm": prm,
            "threshold": threshold,
            "solutions": len(scored),
            "left_out": {name: extra["refused"] for name, extra in extras.items()},
            "repeated": {each.name: each.labelled.repeated for each in kept},
            "wrong_step_beyond_the_last": {each.name: each.labelled.beyond for each in kept},
            **_as_json(benchmark_report(scored, threshold=threshold, seed=seed)),
            "steps": _as_json(step_report(scored, threshold=threshold, bounded=bounded, seed=seed)),
            "against": _against(kept, others, threshold=threshold, seed=seed),
            "beyond_window": len(scored) - len(within),
        }
        if 0 < len(within) < len(scored):
            found["within_window"] = _as_json(
                benchmark_report(within, threshold=threshold, seed=seed)
            )
        write_json(stage.work, found)
        stage.finish([stage.work], rows=len(scored))
    show(benchmark_table(found, out))
    return out


def _scored(kept: Sequence[Kept], *, within: bool) -> "list[ScoredSolution]":
    return [pair for each in kept for pair in with_scores(*each, within=within)]


def _files_of(folder: Path, kept: Sequence[Kept]) -> list[Path]:
    """Return the files of another result over the same benchmark files."""
    files = [prm_bench_scores_file(folder, each.path) for each in kept]
    return [path for path in files if path.is_file()]


def _against(
    kept: Sequence[Kept], others: Sequence[Path], *, threshold: float, seed: int
) -> list[dict[str, Any]]:
    """Compare with other results, solution by solution."""
    from rewardscope.probes.prm_agreement import Scored, agreement

    if not others:
        return []
    this = Scored(_by_id(kept), threshold)
    found = []
    for folder in others:
        report = read_json(prm_bench_report_file(folder))
        theirs = [Kept(path, each.labelled) for each in kept for path in _files_of(folder, [each])]
        compared = agreement(this, Scored(_by_id(theirs), report["threshold"]), seed=seed)
        if compared is None:
            get_logger().warning(
                f"prm-bench: {folder} has scores of none of these files; it is not compared with"
            )
        else:
            found.append({"other": report["prm"], **_as_json(compared)})
    return found


def _by_id(kept: Sequence[Kept]) -> "Mapping[str, ScoredSolution]":
    return {
        f"{each.name}/{pair[0].id}": pair
        for each in kept
        for pair in with_scores(*each, within=False)
    }


def _say_what_is_left_out(kept: Sequence[Kept]) -> None:
    for each in kept:
        for reason, ids in (
            (REPEATED, each.labelled.repeated),
            (BEYOND, each.labelled.beyond),
            (UNLABELLED, each.labelled.unlabelled),
        ):
            if ids:
                more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
                get_logger().warning(
                    f"prm-bench: {each.name}: {len(ids)} times {reason}:"
                    f" {', '.join(ids[:_NAMED])}{more}"
                )


def _as_json(value: Any) -> Any:
    if isinstance(value, Estimate):
        return dataclasses.asdict(value)
    if isinstance(value, dict):
        return {k: _as_json(v) for k, v in value.items()}
    return [_as_json(each) for each in value] if isinstance(value, list) else value
