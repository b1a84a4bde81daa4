"""Many features of an SAE ablated in many solutions, as rows of few batches, against one forward
pass for each feature and solution.

`python -m benchmarks feature_ablate`: the shipped PRM, in CPU seconds with one thread. The plain
loop is measured on some of the pairs of a feature that fires and a solution, and taken times all
pairs; a loop that knows what fires would run those alone, and both are given.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from benchmarks.measure import keep_row
from rewardscope.capturing.inputs import solution_start
from rewardscope.features.ablation import Ablation
from rewardscope.features.edit_names import FeatureEdit
from rewardscope.features.firing_of_solutions import fired_solutions
from rewardscope.interventions import edits
from rewardscope.interventions.run import Intervention, Variant, scores_under
from rewardscope.models.sites import Site
from rewardscope.paths import TINY
from rewardscope.prms.scorer import HfScorer
from rewardscope.problems.pairs import read_right
from rewardscope.sae.measure.reward_kept import Solution
from rewardscope.sae.model.inference import Sae

T = TypeVar("T")
N_FEATURES, N_SOLUTIONS, K, WIDE = 200, 100, 32, 8
LAYERS = (3, 4)  # of six: two blocks are left to run, or one
N_TIMED = 200  # pairs of the plain loop


def main() -> None:
    torch.set_num_threads(1)
    scorer = HfScorer(str(TINY / "tiny-prm"), device="cpu")
    solutions = _solutions(scorer)
    for layer in LAYERS:
        keep_row("feature_ablate", _measured(scorer, solutions, layer))


def _measured(scorer: HfScorer, solutions: list[Solution], layer: int) -> dict[str, object]:
    sae = _random_sae(scorer, solutions, layer)
    seconds, (fired,) = _cpu_seconds(lambda: fired_solutions(scorer, [sae], solutions))
    features = sorted({f for one in fired for f in one.feature_E.tolist()})
    chosen = random.Random(0).sample(features, N_FEATURES)
    ablation = Ablation(scorer, sae, solutions, fired, seed=0)
    ablate = FeatureEdit("ablate")
    pairs = [(f, n) for f in chosen for n in range(N_SOLUTIONS)]
    firing = [(f, n) for f, n in pairs if len(fired[n].of([f]))]
    timed = random.Random(1).sample(firing, N_TIMED)

    def plain() -> list[tuple[float, ...]]:
        return [_one_pass(scorer, sae, solutions[n], f) for f, n in timed]

    # on both sides of ours, as the machine is shared
    before, expected = _cpu_seconds(plain)
    ours, (_, found) = _cpu_seconds(lambda: ablation.scores([(f,) for f in chosen], ablate))
    after, _ = _cpu_seconds(plain)
    a_pass = (before + after) / 2 / N_TIMED
    gap = max(
        abs(a - b)
        for (f, n), row in zip(timed, expected, strict=True)
        for a, b in zip(found[f,][n], row, strict=True)
    )
    return {
        "what": "tiny-prm, random SAE directions, single features ablated, one thread",
        "features": N_FEATURES,
        "solutions": N_SOLUTIONS,
        "tokens": sum(s.encoded.step_ends[-1] + 1 for s in solutions),
        "layer": layer,
        "layers": scorer.n_layers,
        "pairs_that_fire": len(firing),
        "cpu_seconds": round(ours, 2),
        "cpu_seconds_what_fires": round(seconds, 2),
        "cpu_ms_a_pass": round(1000 * a_pass, 2),
        "times_a_pass_each": round(a_pass * len(pairs) / (ours + seconds), 1),
        "times_a_pass_each_that_fires": round(a_pass * len(firing) / (ours + seconds), 1),
        "largest_gap": float(f"{gap:.2g}"),
    }


def _solutions(scorer: HfScorer) -> list[Solution]:
    made = []
    for problem, question, steps in read_right("tinymath", limit=N_SOLUTIONS).solutions:
        encoded, start = scorer.encode(question, steps), solution_start(question, scorer.encode)
        made.append(Solution(problem, encoded, start, (1,) * len(steps)))
    return made


@torch.no_grad()
def _random_sae(scorer: HfScorer, solutions: list[Solution], layer: int) -> Sae:
    """Return an SAE of random directions, of the width and sparsity of those of the demo."""
    states = [
        scored.states[layer] for scored in scorer.capture([s.encoded for s in solutions], [layer])
    ]
    mean_D = torch.cat(states).float().mean(dim=0)
    generator = torch.Generator().manual_seed(0)
    n_features = WIDE * scorer.width
    rows_FD = torch.randn(n_features, scorer.width, generator=generator)
    rows_FD = torch.nn.functional.normalize(rows_FD, dim=1)
    return Sae(
        W_enc_DF=rows_FD.T.contiguous(),
        b_enc_F=torch.zeros(n_features),
        W_dec_FD=rows_FD,
        b_dec_D=mean_D,
        k=K,
        layer=layer,
        info={},
    )


def _one_pass(scorer: HfScorer, sae: Sae, solution: Solution, feature: int) -> tuple[float, ...]:
    """Return the scores of one solution without one feature, by a forward pass of its own."""

    def read(x_ND: torch.Tensor) -> torch.Tensor:
        codes = sae.encode(x_ND)
        return (codes.values_NK * (codes.indices_NK == feature)).sum(dim=1, keepdim=True)

    change = edits.scale_features(read, sae.W_dec_FD[feature][None], factor=0)
    positions = range(solution.start, solution.encoded.step_ends[-1] + 1)
    done = Intervention(Site(sae.layer), positions, change)
    return scores_under(scorer, [Variant(solution.encoded, [done])])[0]


def _cpu_seconds(work: Callable[[], T]) -> tuple[float, T]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


if __name__ == "__main__":
    main()
