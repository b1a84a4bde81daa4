"""Measure the shipped models on held-out tinymath problems: solve rates, the PRM's AUROC, the lift
of guided search.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rewardscope.log import get_logger, show
from rewardscope.records import Estimate, SolvedProblem
from rewardscope.settings import Settings
from rewardscope.stage import require
from rewardscope.stages import infer, infer_with_prm
from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import show_table

DATASET = "tinymath"


def evaluate(home: Path, *, limit: int, force: bool, settings: Settings) -> list[Path]:
    """Print each measure with its 95 % interval and its target; write them to `<data
    dir>/tiny-eval/evaluation.json`.
    """
    from rewardscope.stages.measures import paired
    from rewardscope.statistics.intervals import wilson

    for name in ("tiny-instruct", "tiny-reasoner", "tiny-prm"):
        require(home / name, home / name, "tiny")
    settings = dataclasses.replace(settings, data_dir=settings.data_dir / "tiny-eval")
    prm, measures = str(home / "tiny-prm"), []
    for policy in ("tiny-instruct", "tiny-reasoner"):
        common = {
            "model_name": str(home / policy),
            "datasets": (DATASET,),
            "limit": limit,
            "engine": "hf",
            "force": force,
        }
        alone = read_solved(
            infer.run(infer.Config(**common, n=1, temperature=0.0, max_tokens=512), settings)[0]
        )
        guided = read_solved(
            infer_with_prm.run(infer_with_prm.Config(**common, prm=prm, n=16, width=4), settings)[0]
        )
        right_alone, right_guided = _right(alone), _right(guided)
        lift = paired(right_guided, right_alone, seed=0)
        required = policy == "tiny-instruct"
        measures += [
            (
                f"{policy}: solved alone, greedy",
                wilson(sum(right_alone), len(right_alone)),
                "0.35 to 0.80",
            ),
            (
                f"{policy}: solved with the PRM, beam search",
                wilson(sum(right_guided), len(right_guided)),
                "none, reported",
            ),
            (
                f"{policy}: lift of the PRM",
                lift,
                ">= 0.10, interval above 0" if required else "none, a measurement",
            ),
        ]
    sampled_settings = dataclasses.replace(settings, data_dir=settings.data_dir / "sampled")
    sampling = infer.Config(
        model_name=str(home / "tiny-instruct"),
        datasets=(DATASET,),
        limit=limit,
        n=4,
        temperature=0.8,
        max_tokens=512,
        engine="hf",
        force=force,
    )
    sampled = read_solved(infer.run(sampling, sampled_settings)[0])
    measures.append(
        (
            "tiny-prm: right against wrong steps of tiny-instruct, AUROC",
            _step_auroc(sampled, prm),
            ">= 0.90",
        )
    )
    show(show_table(("measure", "value [95 % interval] n problems", "target"), measures))
    out = settings.data_dir / "evaluation.json"
    write_json(
        out,
        [
            {"measure": name, **dataclasses.asdict(estimate), "target": target}
            for name, estimate, target in measures
        ],
    )
    get_logger().info(f"tiny: wrote {out}")
    return [out]


def _right(solved: Sequence[SolvedProblem]) -> list[int]:
    return [int(row.traces[row.chosen].correct is True) for row in solved]


def _step_auroc(solved: Sequence[SolvedProblem], prm: str) -> Estimate:
    """Return the AUROC over all steps, pooled; the truth of each step comes from the chain that
    made its problem.
    """
    import numpy as np

    from rewardscope.prms import load_scorer
    from rewardscope.problems.tinymath import make_problems
    from rewardscope.problems.tinymath_instruct import judge_steps
    from rewardscope.statistics.draws import draw
    from rewardscope.statistics.intervals import auroc_estimate
    from rewardscope.statistics.measures import auroc_measure

    scorer = load_scorer(prm, engine="hf")
    truths = make_problems(len(solved), split="test", seed=0)
    scored, rights, problems = [], [], []
    for row, truth in zip(solved, truths, strict=True):
        assert row.problem.question == truth.question, (row.problem.id, truth.question)
        traces = [trace for trace in row.traces if trace.steps]
        scores = scorer.score(
            [scorer.encode(row.problem.question, trace.steps) for trace in traces]
        )
        right = [verdict for trace in traces for verdict in judge_steps(truth, list(trace.steps))]
        scored += [score for trace_scores in scores for score in trace_scores]
        rights += right
        problems += [row.problem.id] * len(right)
    right_N, draws = np.array(rights, dtype=float), draw(np.array(problems), seed=0)
    return auroc_estimate(auroc_measure(right_N, np.array(scored), draws), right_N, draws)
