"""What training finds where the truth is known: 256 features in 64 dimensions, four of them active
in each row.
"""

from typing import Literal

import pytest
import torch

from rewardscope.sae.train.activations import ACTIVATIONS
from rewardscope.sae.train.trainer import Shape, Trainer, TrainOptions
from tests.unit.sae.planted import dictionary, sparse_codes

WIDTH, N_TRUE, ACTIVE, BATCH, STEPS = 64, 256, 4, 256, 400


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_nine_in_ten_planted_features_are_found_with_a_cosine_above_095(
    activation: Literal["topk", "batchtopk"],
) -> None:
    truth_FD = dictionary(N_TRUE, WIDTH, seed=1)
    pool_ND = sparse_codes(40 * BATCH, N_TRUE, k=ACTIVE, seed=2) @ truth_FD
    options = TrainOptions(
        shapes={0: Shape(2 * N_TRUE, ACTIVE)},
        activation=ACTIVATIONS[activation](),
        n_steps=STEPS,
        lr=4e-3,
        warmup=0.05,
        decay=0.2,
        clip=1.0,
        aux_alpha=1 / 32,
        k_aux=None,
        dead_after=40 * BATCH,
        bf16=False,
        seed=0,
        device=torch.device("cpu"),
    )
    trainer = Trainer({0: pool_ND}, options)
    before_F = (truth_FD @ trainer.layers[0].W_dec_FD.T).max(dim=1).values
    for step in range(STEPS):
        chosen = torch.randperm(len(pool_ND), generator=torch.Generator().manual_seed(step))[:BATCH]
        trainer.step({0: pool_ND[chosen]})
    found_F = (truth_FD @ trainer.layers[0].W_dec_FD.T).max(dim=1).values
    assert before_F.max() < 0.6
    assert (found_F > 0.95).float().mean() >= 0.9
