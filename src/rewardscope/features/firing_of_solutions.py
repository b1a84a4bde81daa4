"""What fires in solutions that a PRM reads now, and on what kinds of tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rewardscope.capturing.token_text import token_reader
from rewardscope.features.label_rules import LABELS
from rewardscope.features.labels import LEAST_SELECTIVITY, MAX_GROUPS, assign, label_codes
from rewardscope.features.labels_table import MIXED
from rewardscope.features.matching import FeatureFacts
from rewardscope.interventions.run import batches_of
from rewardscope.log import progress
from rewardscope.prms.scorer import HfScorer
from rewardscope.sae.measure.reward_kept import Solution
from rewardscope.sae.model.inference import Sae

# Shape legend: E firings, F features, K active features a row, N solution tokens, U groups of
# problems, C labels.
CATEGORIES: tuple[str, ...] = (*LABELS, MIXED)
"""What `FeatureFacts.category_F` counts in."""


class FiredSolution(NamedTuple):
    """The firings of one solution, from its first token to its last step end, by feature."""

    feature_E: NDArray[np.int64]
    position_E: NDArray[np.int64]
    value_E: NDArray[np.float32]
    n_tokens: int

    def of(self, features: Sequence[int]) -> NDArray[np.int64]:
        """Return where the firings of these features stand."""
        wanted = np.sort(np.asarray(features, dtype=np.int64))
        low, high = (np.searchsorted(self.feature_E, wanted, side=s) for s in ("left", "right"))
        return np.concatenate(
            [np.arange(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
            or [np.zeros(0, dtype=np.int64)]
        ).astype(np.int64)


@torch.no_grad()
def fired_solutions(
    scorer: HfScorer, saes: Sequence[Sae], solutions: Sequence[Solution]
) -> list[list[FiredSolution]]:
    """Run the PRM once and return what fires in each solution, for each of several SAEs of one
    layer.
    """
    layer = saes[0].layer
    found: list[list[FiredSolution]] = [[] for _ in saes]
    kept: list[dict[int, FiredSolution]] = [{} for _ in saes]
    batches = list(batches_of(scorer, [solution.encoded for solution in solutions]))
    for batch in progress(batches, "what fires", unit="batch"):
        captured = scorer.capture([solutions[index].encoded for index in batch], [layer])
        for index, scored in zip(batch, captured, strict=True):
            start, stop = solutions[index].start, solutions[index].encoded.step_ends[-1] + 1
            x_ND = scored.states[layer][start:stop].float()
            for place, sae in enumerate(saes):
                kept[place][index] = _fired(sae, x_ND, start)
    for place, by_index in enumerate(kept):
        found[place] = [by_index[index] for index in range(len(solutions))]
    return found


def _fired(sae: Sae, x_ND: torch.Tensor, start: int) -> FiredSolution:
    codes = sae.encode(x_ND)
    row_E, column_E = (codes.values_NK > 0).nonzero(as_tuple=True)
    feature_E = codes.indices_NK[row_E, column_E].cpu().numpy().astype(np.int64)
    order = np.argsort(feature_E, kind="stable")
    return FiredSolution(
        feature_E[order],
        row_E.cpu().numpy()[order] + start,
        codes.values_NK[row_E, column_E].float().cpu().numpy()[order],
        len(x_ND),
    )


def facts_of(
    scorer: HfScorer, sae: Sae, solutions: Sequence[Solution], fired: Sequence[FiredSolution]
) -> FeatureFacts:
    """Return what features are matched by, on the tokens of these solutions."""
    read, n_features = token_reader(scorer.tokenizer), sae.n_features
    problems = dict.fromkeys(solution.problem for solution in solutions)
    group = {name: number % MAX_GROUPS for number, name in enumerate(problems)}
    n_groups = max(group.values()) + 1
    count_F, sum_F = np.zeros((2, n_features))
    mass_UCF = np.zeros((n_groups, len(LABELS), n_features), dtype=np.float32)
    rows_UC = np.zeros((n_groups, len(LABELS)))
    for solution, one in zip(solutions, fired, strict=True):
        ends = solution.encoded.step_ends
        code_T = label_codes(read(solution.encoded.input_ids), tags=ends).astype(np.int64)
        value_E = one.value_E.astype(np.float64)
        count_F += np.bincount(one.feature_E, minlength=n_features)
        sum_F += np.bincount(one.feature_E, weights=value_E, minlength=n_features)
        own = group[solution.problem]
        np.add.at(mass_UCF[own], (code_T[one.position_E], one.feature_E), one.value_E)
        rows_UC[own] += np.bincount(code_T[solution.start : ends[-1] + 1], minlength=len(LABELS))
    norm_F = sae.W_dec_FD.float().norm(dim=1).cpu().numpy().astype(np.float64)
    found = assign(mass_UCF, rows_UC)
    return FeatureFacts(
        rate_F=count_F / sum(one.n_tokens for one in fired),
        norm_F=norm_F,
        length_F=sum_F / np.maximum(count_F, 1) * norm_F,
        category_F=np.where(found.selectivity_F >= LEAST_SELECTIVITY, found.code_F, len(LABELS)),
    )
