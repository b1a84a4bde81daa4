"""Are the rewards still the same with an SAE in the path? The judge of an SAE of a reward model.

The PRM is run again with the state after one block replaced, at all tokens of the solution (never
those of the prompt, on which no SAE was trained), by the SAE's reconstruction; the step scores that
come out are compared with the original ones. Two baselines say what is to lose: the state set to
zero, and to its mean over the solution tokens measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rewardscope.interventions import edits
from rewardscope.interventions.outcomes import middle_of
from rewardscope.interventions.run import Intervention, Variant, batches_of, scores_under
from rewardscope.log import progress
from rewardscope.models.sites import Site, StateChange
from rewardscope.prms.scorer import HfScorer
from rewardscope.records import Encoded, Estimate
from rewardscope.sae.measure.quality import Quality, QualitySums
from rewardscope.sae.measure.score_change import Change, Comparison, Steps
from rewardscope.sae.model.inference import Sae
from rewardscope.statistics import measures as statistics
from rewardscope.statistics.draws import Draws

# Shape legend: B batch, T tokens, N solution tokens, D width, S steps.


class Solution(NamedTuple):
    """One solution to score."""

    problem: str
    encoded: Encoded
    start: int
    """Position of its first token in the PRM's input."""
    right: tuple[int, ...]
    """Of each step: 1 right, 0 wrong, -1 unknown."""
    correct: bool | None = None
    """Of the final answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardKept:
    """What one layer's SAE leaves of the rewards, beside the two ablations.

    share_of_zero, share_of_mean: 1 less the SAE's mean change as a share of the ablation's: 1 keeps
    everything, 0 is no better than the ablation. auroc: of the original scores, None without labels
    of both kinds.
    """

    layer: int
    n_solutions: int
    n_steps: int
    n_problems: int
    threshold: float
    auroc: Estimate | None
    sae: Change
    zero: Change
    mean: Change
    share_of_zero: Estimate | None
    share_of_mean: Estimate | None


class Measured(NamedTuple):
    """What was measured of one layer, on the same solution tokens.

    of_mean: `share_of_mean` before it has an interval, with the draws of its problems, so that two
    SAEs can be compared on the same solutions.
    """

    quality: Quality
    reward: RewardKept
    of_mean: statistics.Measured | None
    draws: Draws


def measure_reward_kept(
    scorer: HfScorer, saes: Mapping[int, Sae], solutions: Sequence[Solution], *, seed: int
) -> dict[int, Measured]:
    """Run the PRM once as it is and three times a layer; return what was measured, by layer.

    The SAEs are on the scorer's device. Raises: BadRecord where one is of another layer or width.
    """
    for layer, sae in saes.items():
        sae.check(layer=layer, width=scorer.width, where="the PRM")
    problems = {
        name: code
        for code, name in enumerate(dict.fromkeys(solution.problem for solution in solutions))
    }
    # the batches of the changed passes too, so that nothing but the change differs
    batches = list(batches_of(scorer, [solution.encoded for solution in solutions]))
    clean, means, sums = _clean_pass(scorer, saes, solutions, batches, problems)
    steps = Steps(
        score_S=np.concatenate(clean),
        right_S=np.concatenate([np.array(solution.right, dtype=np.int8) for solution in solutions]),
        problem_S=np.repeat(
            [problems[s.problem] for s in solutions], [len(s.encoded.step_ends) for s in solutions]
        ),
    )
    comparison = Comparison(steps, threshold=middle_of(scorer.adapter.score_range), seed=seed)
    found = {}
    for layer, sae in progress(list(saes.items()), "reward kept", unit="layer"):
        changes = {
            "sae": edits.reconstruct(sae.reconstruct),
            "zero": edits.zero(),
            "mean": edits.mean(means[layer]),
        }
        scores = {
            name: _changed_scores(scorer, layer, change, solutions)
            for name, change in changes.items()
        }
        compared = {name: comparison.change(changed) for name, changed in scores.items()}
        reward = RewardKept(
            layer=layer,
            n_solutions=len(solutions),
            n_steps=len(steps.score_S),
            n_problems=comparison.n_problems,
            threshold=comparison.threshold,
            auroc=comparison.auroc,
            **compared,
            share_of_zero=comparison.share_kept(scores["sae"], scores["zero"]),
            share_of_mean=comparison.share_kept(scores["sae"], scores["mean"]),
        )
        found[layer] = Measured(
            sums[layer].quality(seed=seed),
            reward,
            comparison.kept(scores["sae"], scores["mean"]),
            comparison.draws,
        )
    return found


class _Clean(NamedTuple):
    scores: list[np.ndarray]
    means: dict[int, Tensor]
    sums: dict[int, QualitySums]


def _clean_pass(
    scorer: HfScorer,
    saes: Mapping[int, Sae],
    solutions: Sequence[Solution],
    batches: list[list[int]],
    problems: Mapping[str, int],
) -> _Clean:
    """Score as it is; on the way take the mean state of the solution tokens, and how well each SAE
    rebuilds them.
    """
    scores: list[np.ndarray] = [np.empty(0)] * len(solutions)
    totals = {
        layer: torch.zeros(scorer.width, dtype=torch.float64, device=scorer.model.device)
        for layer in saes
    }
    sums = {layer: QualitySums(sae, n_problems=len(problems)) for layer, sae in saes.items()}
    n_tokens = 0
    for batch in progress(batches, "PRM as it is", unit="batch"):
        captured = scorer.capture([solutions[index].encoded for index in batch], list(saes))
        for index, (row_scores, states) in zip(batch, captured, strict=True):
            solution = solutions[index]
            scores[index] = np.array(row_scores)
            span = slice(solution.start, solution.encoded.step_ends[-1] + 1)
            n_tokens += span.stop - span.start
            for layer, states_TD in states.items():
                x_ND = states_TD[span].float()
                totals[layer] += x_ND.sum(dim=0, dtype=torch.float64)
                sums[layer].add(x_ND, np.full(len(x_ND), problems[solution.problem]))
    return _Clean(
        scores, {layer: (total / n_tokens).float() for layer, total in totals.items()}, sums
    )


def _changed_scores(
    scorer: HfScorer, layer: int, change: StateChange, solutions: Sequence[Solution]
) -> np.ndarray:
    """Return the scores of all steps where the states of solution tokens after a block change."""
    variants = []
    for solution in solutions:
        positions = range(solution.start, solution.encoded.step_ends[-1] + 1)
        changed = Intervention(Site(layer), positions, change)
        variants.append(Variant(solution.encoded, [changed]))
    return np.concatenate([np.array(scores) for scores in scores_under(scorer, variants)])
