"""What two of torchrun's processes do for test_distributed_sae: compare with one process, write
what they found, and then one dies.

torchrun --nproc-per-node 2 -m tests.unit.sae.distributed_cases FOLDER
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardscope.errors import PipelineError
from rewardscope.sae.train.activations import ActivationFlags, ActivationName, activation_of
from rewardscope.sae.train.distributed import joined
from rewardscope.sae.train.pickers import TopOfBatch, encode
from rewardscope.sae.train.processes import Processes
from rewardscope.sae.train.ranks import Alone, Team
from rewardscope.sae.train.state import Every, RunState
from rewardscope.sae.train.trainer import Shape, Trainer, TrainOptions
from rewardscope.settings import launched
from tests.unit.sae.planted import dictionary, sparse_codes

LAYERS, WIDTH, ROWS, STEPS = (0, 3, 4), 16, 33, 12
CLIP, DEAD_AFTER = 0.2, 40
FLAGS = ActivationFlags(prefixes=(0.25, 0.5, 1.0), bandwidth=0.3)
ACTIVATIONS: tuple[ActivationName, ...] = ("topk", "batchtopk", "jumprelu", "matryoshka")


def batch(seed: int, n: int = ROWS) -> dict[int, Tensor]:
    codes_NF = sparse_codes(n, 40, k=3, seed=seed)
    return {layer: 5 * (codes_NF @ dictionary(40, WIDTH, seed=layer)) + 7.0 for layer in LAYERS}


def trainer_of(team: Team, activation: Any) -> Trainer:
    options = TrainOptions(
        shapes={layer: Shape(32 + 4 * layer, 3) for layer in team.own_layers(LAYERS)},
        activation=activation_of(activation, FLAGS),
        n_steps=STEPS,
        lr=1e-3,
        warmup=0.2,
        decay=0.2,
        clip=CLIP,
        aux_alpha=1 / 32,
        k_aux=None,
        dead_after=DEAD_AFTER,
        bf16=False,
        seed=0,
        device=torch.device("cpu"),
    )
    return Trainer(batch(100, n=300), options, ranks=team.ranks)


def train(trainer: Trainer, team: Team, *, until: int = STEPS) -> dict[str, bool]:
    """Take steps; say whether clipping and the loss of dead features were in play."""
    seen = {"clipped": False, "aux": False}
    while trainer.n_done < until:
        for report in trainer.step(team.own_rows(batch(trainer.n_done))).values():
            seen["clipped"] |= float(report.grad_norm) > CLIP
            seen["aux"] |= float(report.aux) > 0
    return seen


def difference(one: Trainer, other: Trainer) -> float:
    """Return the greatest difference between two trainers' tensors, over the layers of the
    second.
    """
    pairs = [
        (one.tensors(layer)[name], tensor)
        for layer in other.layers
        for name, tensor in other.tensors(layer).items()
    ]
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs if a.numel())


def compared(team: Team, activation: str, folder: Path) -> dict[str, Any]:
    """Train alone, together, and together with a stop in the middle."""
    alone, together = trainer_of(Alone(), activation), trainer_of(team, activation)
    start = {layer: together.layers[layer].W_enc_FD.clone() for layer in together.layers}
    seen = train(alone, Alone())
    train(together, team)
    first = trainer_of(team, activation)
    train(first, team, until=5)
    state = RunState(folder, "key", every=Every(5, None), team=team)
    state.save(first)
    team.decide(lambda: None)  # the first process has written the step
    resumed, alone_again = trainer_of(team, activation), trainer_of(Alone(), activation)
    steps = [state.load(resumed), RunState(folder, "key", every=Every(5, None)).load(alone_again)]
    train(resumed, team)
    train(alone_again, Alone())
    return {
        **seen,
        "alone": difference(alone, together),
        "resumed": difference(together, resumed),
        "resumed at": steps,
        "resumed alone": difference(alone, alone_again),
        "moved": min(
            float((together.layers[layer].W_enc_FD - before_FD).abs().max())
            for layer, before_FD in start.items()
        ),
    }


def ties(team: Team) -> dict[str, Any]:
    """Choose 2 * 6 of 24 values that are all but equal, which one process has in 6 rows and two
    have in 2 and 4 rows.
    """
    values_NF = torch.tensor([[1.0, 1.0, 1.0, 1.0]] * 5 + [[1.0, 2.0, 3.0, 1.0]])
    eye_FF, zero_F = torch.eye(4), torch.zeros(4)

    def chosen(x_NF: Tensor, picker: TopOfBatch) -> list[list[int]]:
        (found,) = encode(x_NF, eye_FF, zero_F, [picker], bf16=False)
        return [
            [int(row), int(feature)]
            for row, feature in zip(found.rows_M, found.features_M, strict=True)
        ]

    own = chosen(team.own_rows({0: values_NF})[0], TopOfBatch(2, 6, ranks=team.ranks))
    return {"alone": chosen(values_NF, TopOfBatch(2, 6)), "own": own}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    launch = launched()
    assert launch is not None
    with joined("rows", device="cpu") as rows:
        layers = Processes("layers", launch, "cpu", rows.ending)
        found: dict[str, Any] = {"ties": ties(rows), "layers": {}, "rows": {}}
        for activation in ACTIVATIONS:
            found["rows"][activation] = compared(rows, activation, folder / f"rows-{activation}")
            found["layers"][activation] = compared(
                layers, activation, folder / f"layers-{activation}"
            )
        (folder / f"process_{launch.rank}.json").write_text(json.dumps(found), encoding="utf-8")
        rows.decide(lambda: None)
        if launch.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        rows.ranks.sum_(torch.zeros(1))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except PipelineError as error:
        sys.exit(f"train-sae: {error}")
