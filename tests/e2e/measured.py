"""What tests of metrics share: generations made by hand, and the stage run on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.settings import Settings
from rewardscope.stages.metrics import Config, run
from rewardscope.storage.jsonl import write_rows
from rewardscope.storage.tables import read_json


def solved(
    index: int,
    gold: str,
    answers: Sequence[str | None],
    *,
    scores: Sequence[tuple[float, ...]] | None = None,
    verdicts: Sequence[bool | None] | None = None,
    chosen: int = 0,
) -> dict[str, Any]:
    """Return a problem whose traces end in these answers; None is a trace that was cut."""
    problem = Problem(id=f"toy/{index}", dataset="toy", question="How many?", answer=gold)
    traces = []
    for i, answer in enumerate(answers):
        end = "I do not know." if answer is None else rf"So \boxed{{{answer}}}."
        steps = (*["Let us see."] * (len(scores[i]) - 1 if scores else 1), end)
        traces.append(
            Trace(
                problem_id=problem.id,
                index=i,
                steps=steps,
                scores=scores[i] if scores else None,
                finish="length" if answer is None else "eos",
                n_tokens=10 * (i + 1),
                answer=answer,
                correct=verdicts[i] if verdicts else None,
            )
        )
    return SolvedProblem(problem=problem, traces=tuple(traces), chosen=chosen).to_dict()


def metrics(folder: Path, rows: list[dict], **flags: Any) -> dict[str, Any]:
    """Write the rows and measure them; return the report."""
    write_rows(folder / "toy.jsonl", rows)
    return read_json(run(Config(dataset="toy", **flags), Settings(data_dir=folder)))


def values(report: dict[str, Any]) -> dict[str, float]:
    return {name: estimate["value"] for name, estimate in report["metrics"].items()}
