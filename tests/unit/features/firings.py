"""Small data sets with random states, and their codes as one dense table."""

from pathlib import Path

import numpy as np
import torch

from rewardscope.features.firing import DataSet, open_data_set
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.acts import ActStore
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts

CPU = torch.device("cpu")
N_FEATURES, WIDTH, K = 12, 8, 3
EVERY = np.arange(N_FEATURES)


def texts(n: int) -> list[list[str]]:
    rng = np.random.default_rng(0)
    words = ["Wait", " 7", "\n", ".", "=", STEP_TAG]
    return [[*rng.choice(words, size=rng.integers(6, 14)).tolist(), STEP_TAG] for _ in range(n)]


def data_set(folder: Path, *, n: int = 12, seed: int = 0, every_token: bool = True) -> DataSet:
    rng = np.random.default_rng(seed)
    rows, sequences = make_rows(
        texts(n),
        problems=[f"p/{i // 2}" for i in range(n)],
        correct=[bool(b) for b in rng.random(n) < 0.5],
        every_token=every_token,
    )
    acts = {0: torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(seed))}
    return open_data_set(
        folder.name, ActStore(write_acts(folder, Acts(acts, rows, sequences), shard_rows=17))
    )


def dense(sae: Sae, data: DataSet) -> np.ndarray:
    """All codes as one dense table [rows, features], by sorting."""
    x_ND = data.store.layer(0).numpy()
    pre_NF = (x_ND - sae.b_dec_D.numpy()) @ sae.W_enc_DF.numpy() + sae.b_enc_F.numpy()
    table = np.zeros_like(pre_NF)
    for row, pre_F in enumerate(pre_NF):
        best = np.argsort(-pre_F)[:K]
        table[row, best] = np.maximum(pre_F[best], 0)
    return table
