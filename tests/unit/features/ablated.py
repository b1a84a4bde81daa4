"""A small PRM with a linear head, solutions, and an SAE two of whose features are planted: one
writes along the direction that the head reads, the other across it.
"""

from pathlib import Path
from typing import NamedTuple

import torch

from rewardscope.models.sites import Site
from rewardscope.prms.scorer import HfScorer
from rewardscope.sae.measure.reward_kept import Solution
from rewardscope.sae.model.inference import Sae
from tests.contract.tiny_prms import make_prm
from tests.unit.prms.tiny_prm import random_solutions

F, MOVES, IDLE = 96, 5, 60


class Planted(NamedTuple):
    scorer: HfScorer
    sae: Sae
    solutions: list[Solution]


def planted(folder: Path, *, seed: int, n: int = 14) -> Planted:
    """Return all of it, the SAE at the last layer."""
    scorer = HfScorer(str(make_prm("skywork-o1", folder, seed=seed)), device="cpu")
    layer = scorer.n_layers - 1
    solutions = []
    for number, (question, steps) in enumerate(random_solutions(n, seed=seed)):
        right = tuple((number + place) % 2 for place in range(len(steps)))
        encoded = scorer.encode(question, steps)
        solutions.append(Solution(f"p/{number}", encoded, 1, right, bool(number % 2)))
    states_ND = torch.cat([states_at_ends(scorer, s, layer) for s in solutions])
    random = torch.Generator().manual_seed(seed)
    decoder_FD = torch.nn.functional.normalize(torch.randn(F, scorer.width, generator=random))
    encoder_DF = torch.nn.functional.normalize(torch.randn(F, scorer.width, generator=random)).T
    pre_NF = (states_ND - states_ND.mean(dim=0)) @ encoder_DF
    scale_F = 3 / pre_NF.std(dim=0)
    direction_D = scorer.adapter.direction(scorer.model)
    assert direction_D is not None
    unit_D = direction_D / direction_D.norm()
    decoder_FD[MOVES] = unit_D
    across_D = decoder_FD[IDLE] - (decoder_FD[IDLE] @ unit_D) * unit_D
    decoder_FD[IDLE] = across_D / across_D.norm()
    sae = Sae(
        W_enc_DF=encoder_DF * scale_F,
        b_enc_F=torch.zeros(F),
        W_dec_FD=decoder_FD,
        b_dec_D=states_ND.mean(dim=0),
        threshold_F=torch.full((F,), 1.0),  # about a third of the step ends
        activation="jumprelu",
        layer=layer,
        info={},
    )
    return Planted(scorer, sae, solutions)


@torch.no_grad()
def states_at_ends(scorer: HfScorer, solution: Solution, layer: int) -> torch.Tensor:
    site = Site(layer)
    states = scorer.forward([solution.encoded], watch=[site]).states[site][0]
    return states[list(solution.encoded.step_ends)]
