"""How `prm-bench` comes to scores: a PRM gives them, or they came with the file."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardscope.errors import BadRecord, ConfigError, MissingInput, TooLong
from rewardscope.log import get_logger, progress
from rewardscope.paths import slug
from rewardscope.prms import Beyond, PrmEngineName
from rewardscope.records import Cost
from rewardscope.stage import Stage, StageConfig, option
from rewardscope.stages.model_flags import DTYPE_HELP, DtypeName, check_model
from rewardscope.stages.named_scores import check_scores_name
from rewardscope.stages.prm_bench_rows import scored_row, scoring_cost
from rewardscope.storage.jsonl import PartialRows, write_solved

if TYPE_CHECKING:
    from rewardscope.prms import Scorer
    from rewardscope.problems.prm_benchmarks import LabelledSolutions

Pending = Sequence[tuple[Stage, "LabelledSolutions"]]
REPEATED = "item whose id came before"
UNLABELLED = "imported trace without labels of its steps"
UNSCORED = "item without scores of that name"


@dataclass(frozen=True, kw_only=True)
class Scoring(StageConfig):
    """What decides the scores, beside the PRM and the file.

    They are kept; threshold and intervals come after them.
    """

    prm_engine: PrmEngineName = option(help="of the PRM")
    prm_window: int | None = option(help="tokens that the PRM was trained for")
    beyond_window: Beyond = option(help="what becomes of longer inputs")
    dtype: DtypeName = option("auto", help=DTYPE_HELP, later=True)


@dataclass(frozen=True, kw_only=True)
class Given(StageConfig):
    """What decides the scores that came with a file."""

    scores: str = option(help="name of the PRM that gave them")


def threshold_of(given: float | None, bounds: Sequence[float] | None, *, prm: str) -> float:
    """Return the score above which a step is taken for right. Raises: ConfigError."""
    if given is not None:
        return given
    if bounds is None:
        raise ConfigError(
            f"--threshold is required: the scores of {prm} have no bounds, so no middle"
        )
    return sum(bounds) / 2


def take_given(pending: Pending, name: str) -> None:
    """Write the scores that came with the files as if a PRM had just given them.

    Raises: UnknownName, MissingInput.
    """
    for stage, labelled in pending:
        solutions = labelled.solutions
        known = sorted({known for solution in solutions for known in solution.scores})
        check_scores_name(name, known, stage.out)
        scored = [(solution, solution.scores.get(name)) for solution in solutions]
        values = [score for _, scores in scored for score in scores or ()]
        bounds = [0.0, 1.0] if all(0 <= value <= 1 for value in values) else None
        rows = [
            scored_row(solution, scores, slug(stage.out), in_window=None, cost=Cost())
            for solution, scores in scored
            if scores is not None
        ]
        missing = {UNSCORED: len(scored) - len(rows)} if len(rows) < len(scored) else {}
        for reason, count in missing.items():
            get_logger().warning(f"prm-bench: {slug(stage.out)}: left out {count} times: {reason}")
        with stage:
            write_solved(stage.work, rows)
            stage.finish(
                [stage.work],
                rows=len(rows),
                skipped=left_out(labelled) | missing,
                extra={"refused": {}, "score_range": bounds},
            )


def left_out(labelled: "LabelledSolutions") -> dict[str, int]:
    """Count what a file has that is not looked at, by reason."""
    counts = {REPEATED: len(labelled.repeated), UNLABELLED: len(labelled.unlabelled)}
    return {reason: count for reason, count in counts.items() if count}


def score_all(
    pending: Pending,
    scoring: Scoring,
    *,
    prm: str,
    device: str,
    chunk: int,
    threshold: float | None,
) -> None:
    """Load the PRM once and work off the files."""
    from rewardscope.prms import find_adapter, load_scorer

    check_model("--prm", prm)
    score_range = find_adapter(prm).score_range
    bounds = list(score_range) if all(map(math.isfinite, score_range)) else None
    threshold_of(threshold, bounds, prm=prm)  # before the weights are loaded
    scorer = load_scorer(
        prm,
        engine=scoring.prm_engine,
        device=device,
        dtype=scoring.dtype,
        window=scoring.prm_window,
        beyond=scoring.beyond_window,
    )
    for stage, labelled in pending:
        with stage:
            _score(labelled, scorer, stage=stage, chunk_size=chunk, bounds=bounds)


def _score(
    labelled: "LabelledSolutions",
    scorer: "Scorer",
    *,
    stage: Stage,
    chunk_size: int,
    bounds: list[float] | None,
) -> None:
    """Score chunk by chunk, keep each as it is done, then write the file and the manifest."""
    dataset = slug(stage.out)
    partial = PartialRows(stage.work, stage.key)
    accepted, refused, reasons = [], {}, Counter()
    for solution in labelled.solutions:
        try:
            accepted.append((solution, scorer.encode(solution.question, solution.steps)))
        except BadRecord as error:
            # Counted under one reason for all that are too long; each is named with its own below.
            reasons[
                (
                    f"more tokens than the PRM's {scorer.max_positions} positions"
                    if isinstance(error, TooLong)
                    else "refused"
                )
            ] += 1
            refused[solution.id] = str(error)
    if not accepted:
        raise MissingInput(
            f"{dataset}: the PRM can score none of the {len(labelled.solutions)} solutions; the"
            f" first: {next(iter(refused.values()))}"
        )
    for solution_id, why in refused.items():
        get_logger().warning(f"prm-bench: {dataset} leaves out {solution_id}: {why}")
    todo = [
        (solution, encoded)
        for solution, encoded in accepted
        if f"{dataset}/{solution.id}" not in partial.done
    ]
    chunks = [todo[start : start + chunk_size] for start in range(0, len(todo), chunk_size)]
    for chunk in progress(chunks, f"prm-bench {dataset}", unit="chunk"):
        started = time.perf_counter()
        scores = scorer.score([encoded for _, encoded in chunk])
        seconds = round((time.perf_counter() - started) / len(chunk), 6)
        partial.add(
            scored_row(
                solution,
                its_scores,
                dataset,
                in_window=len(encoded.input_ids) <= scorer.window,
                cost=scoring_cost(scorer, encoded, seconds),
            )
            for (solution, encoded), its_scores in zip(chunk, scores, strict=True)
        )
    rows = partial.finish([f"{dataset}/{solution.id}" for solution, _ in accepted])
    stage.finish(
        [stage.work],
        rows=rows,
        skipped=dict(reasons) | left_out(labelled),
        extra={"refused": refused, "score_range": bounds},
    )
