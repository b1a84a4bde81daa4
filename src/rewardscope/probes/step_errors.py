"""Where a PRM errs on steps whose labels are known: by step number, length and who wrote them; how
good its scores are as chances that a step is right; and what they add to the mere position.

An error of a PRM is a false positive (a right step taken for wrong) or a false negative (a wrong
step taken for right). All intervals are over questions. Nothing here reads files or models.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardscope.probes.patterns import bin_edges, calibrate
from rewardscope.problems.prm_benchmark_metrics import ScoredSolution, first_wrong
from rewardscope.records import Estimate
from rewardscope.statistics.draws import Draws, draw
from rewardscope.statistics.intervals import PLAIN, UNIT, Scale, auroc_estimate, interval, share
from rewardscope.statistics.measures import auroc_measure, mean
from rewardscope.statistics.selection import lead
from rewardscope.statistics.stratified import stratified_auroc_measure

# Shape legend: N rows (steps).
Array = NDArray[np.float64]
NUMBER, LENGTH, GENERATOR, STYLE, SUBSET = (
    "step number",
    "step length",
    "generator",
    "style",
    "subset",
)
GROUPS = "groups"
BINS = 8  # of step length
NUMBER_STARTS = (1, 2, 3, 4, 5, 6, 8, 11)  # of bins of step number; the last one is open
MIN_WRONG = 10  # steps of a number, for an AUROC of it
REACH = 4  # steps before and after the first wrong one
POSITIONS = 8  # bins of relative position


class Steps(NamedTuple):
    """The steps of scored solutions, one row each."""

    score: Array
    wrong: Array
    """1 wrong, 0 right, NaN unknown."""
    number: Array
    """From 1."""
    relative: Array
    """Position of the step's middle in its solution, 0 to 1."""
    length: Array
    """Characters."""
    offset: Array
    """From the solution's first wrong step; NaN where it has none."""
    question: NDArray[np.int64]
    groups: dict[str, NDArray[np.str_]]
    """Of each step, by generator, style and subset."""

    def among(self, inside_N: NDArray[np.bool_]) -> "Steps":
        columns = {
            name: value[inside_N] for name, value in self._asdict().items() if name != GROUPS
        }
        groups = {name: values[inside_N] for name, values in self.groups.items()}
        return self._replace(groups=groups, **columns)


def steps_of(scored: Sequence[ScoredSolution]) -> Steps:
    """Lay out the steps of scored solutions as rows."""
    questions: dict[str, int] = {}
    rows, names = [], []
    for solution, scores in scored:
        question = questions.setdefault(solution.question, len(questions))
        first = min(solution.wrong, default=np.nan)
        for place, (score, label) in enumerate(zip(scores, solution.labels, strict=True)):
            wrong = np.nan if label is None else float(not label)
            relative, length = (place + 0.5) / len(scores), len(solution.steps[place])
            rows.append((score, wrong, place + 1, relative, length, place - first, question))
            names.append((solution.generator, solution.style, solution.category))
    score, wrong, number, relative, length, offset, question_N = np.array(rows, dtype=np.float64).T
    by_group = zip((GENERATOR, STYLE, SUBSET), np.array(names).T, strict=True)
    return Steps(
        score=score,
        wrong=wrong,
        number=number,
        relative=relative,
        length=length,
        offset=offset,
        question=question_N.astype(np.int64),
        groups=dict(by_group),
    )


def step_report(
    scored: Sequence[ScoredSolution], *, threshold: float, bounded: bool, seed: int
) -> dict[str, Any]:
    """Return all of it as JSON types and Estimates. `bounded`: all scores lie from 0 to 1."""
    steps = steps_of(scored)
    known = steps.among(np.isfinite(steps.wrong))
    return {
        "right_steps": int((known.wrong == 0).sum()),
        "wrong_steps": int((known.wrong == 1).sum()),
        "errors": errors(known, threshold=threshold, seed=seed),
        "calibration": calibration(known, seed=seed) if bounded else [],
        "first_error_found": first_error_found(scored, threshold=threshold, seed=seed),
        "along": along(steps, bounded=bounded, seed=seed),
        "first_error": first_error(known, seed=seed),
    }


def errors(known: Steps, *, threshold: float, seed: int) -> list[dict[str, Any]]:
    """Return the rates of false positives and false negatives in each bin and group."""
    flagged_N = (known.score <= threshold).astype(np.float64)
    parts = [("all", "all", np.ones(len(flagged_N), dtype=bool), {})]
    for by, values, edges in (
        (NUMBER, known.number, np.array(NUMBER_STARTS)),
        (LENGTH, known.length, bin_edges(known.length, bins=BINS)),
    ):
        bins = np.searchsorted(edges, values, side="right") - 1
        for number in np.unique(bins):
            ends = {"start": float(edges[number]), "end": float(values[bins == number].max())}
            parts.append((by, "", bins == number, ends))
    parts += [(by, name, inside, {}) for by, name, inside in _groups(known)]
    found = []
    for by, group, inside, ends in parts:
        right, wrong = inside & (known.wrong == 0), inside & (known.wrong == 1)
        found.append(
            {
                "by": by,
                "group": group,
                **ends,
                "right": int(right.sum()),
                "wrong": int(wrong.sum()),
                "false_positive": _share(flagged_N, known, right, seed),
                "false_negative": _share(1 - flagged_N, known, wrong, seed),
            }
        )
    return found


def calibration(known: Steps, *, seed: int) -> list[dict[str, Any]]:
    """Return how good the scores are as chances that a step is right: of all, and by group."""
    everything = np.ones(len(known.score), dtype=bool)
    found = []
    for by, group, inside in [("all", "all", everything), *_groups(known)]:
        right_N = 1 - known.wrong[inside]
        c = calibrate(known.score[inside], right_N, known.question[inside], seed=seed)
        found.append(
            {
                "by": by,
                "group": group,
                "steps": int(inside.sum()),
                "ece": c.ece,
                "brier": c.brier,
                "auroc": c.auroc,
                "reliability": [each._asdict() for each in c.curve],
            }
        )
    return found


def along(steps: Steps, *, bounded: bool, seed: int) -> list[dict[str, Any]]:
    """Return mean scores by relative position in solutions without and with a wrong step, and by
    the distance to the first wrong one.
    """
    scale, has_wrong = UNIT if bounded else PLAIN, np.isfinite(steps.offset)
    bin_N = np.minimum((steps.relative * POSITIONS).astype(int), POSITIONS - 1)
    centre_N = (bin_N + 0.5) / POSITIONS
    found = []
    for solution, inside in (("right", ~has_wrong), ("wrong", has_wrong)):
        for centre in np.unique(centre_N[inside]):
            found.append(
                {"solution": solution, "by": "position", "at": float(centre)}
                | _mean(steps, inside & (centre_N == centre), scale, seed)
            )
    for offset in range(-REACH, REACH + 1):
        inside = steps.offset == offset
        if inside.any():
            found.append(
                {"solution": "wrong", "by": "steps from the first wrong one", "at": float(offset)}
                | _mean(steps, inside, scale, seed)
            )
    return found


def first_error_found(
    scored: Sequence[ScoredSolution], *, threshold: float, seed: int
) -> Estimate | None:
    """Return the share of solutions with a wrong step whose first step that is taken for wrong is
    the first wrong one; None where no solution has one.
    """
    hits = [
        (solution.question, first_wrong(scores, threshold) == min(solution.wrong))
        for solution, scores in scored
        if solution.wrong
    ]
    if not hits:
        return None
    questions, hit_N = zip(*hits, strict=True)
    question_N = np.unique(questions, return_inverse=True)[1]
    return share(np.array(hit_N, dtype=np.float64), draw(question_N, seed=seed))


def first_error(known: Steps, *, seed: int) -> dict[str, Any] | None:
    """Return how well low scores tell wrong steps from right ones: over all, beside what the
    position alone tells, and among steps of the same number. None where a class is missing.
    """
    wrong_N = known.wrong
    if not 0 < wrong_N.sum() < len(wrong_N):
        return None
    draws = draw(known.question, seed=seed)
    own = auroc_measure(wrong_N, -known.score, draws)
    others = {
        "step number": auroc_measure(wrong_N, known.number, draws),
        "relative position": auroc_measure(wrong_N, known.relative, draws),
        "step length": auroc_measure(wrong_N, known.length, draws),
    }
    best, above = lead(own, others, draws)
    same = stratified_auroc_measure(wrong_N, -known.score, known.number, draws)
    return {
        "auroc": auroc_estimate(own, wrong_N, draws),
        "baselines": {name: auroc_estimate(m, wrong_N, draws) for name, m in others.items()},
        "best_baseline": best,
        "above_baseline": above,
        "same_step_number": auroc_estimate(same, wrong_N, draws),
        "by_step_number": _by_number(known, draws),
    }


def _by_number(known: Steps, draws: Draws) -> list[dict[str, Any]]:
    found = []
    for number in np.unique(known.number):
        inside = known.number == number
        wrong_N, score_N = known.wrong[inside], -known.score[inside]
        n_wrong, n_right = int(wrong_N.sum()), int((1 - wrong_N).sum())
        if min(n_wrong, n_right) < MIN_WRONG:
            continue
        its = draws.among(inside)
        measured = auroc_estimate(auroc_measure(wrong_N, score_N, its), wrong_N, its)
        found.append({"number": int(number), "right": n_right, "wrong": n_wrong, "auroc": measured})
    return found


def _groups(steps: Steps) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Return each group that some steps belong to; steps without one belong to none."""
    return [
        (by, str(name), values == name)
        for by, values in steps.groups.items()
        for name in np.unique(values)
        if name
    ]


def _share(value_N: Array, steps: Steps, inside: NDArray[np.bool_], seed: int) -> Estimate | None:
    if not inside.any():
        return None
    return share(value_N[inside], draw(steps.question[inside], seed=seed))


def _mean(steps: Steps, inside: NDArray[np.bool_], scale: Scale, seed: int) -> dict[str, Any]:
    draws = draw(steps.question[inside], seed=seed)
    found = interval(mean(steps.score[inside], draws), draws, scale=scale)
    return {"steps": int(inside.sum()), "mean": found}
