"""Small folders of activations with planted features, and runs of train-sae on them."""

from pathlib import Path
from typing import Any

import torch

from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from tests.unit.sae.planted import planted_acts, write_acts

CPU = torch.device("cpu")
NAMES = ("math-rm-a", "math-rm-b")
SMALL: dict[str, Any] = {
    "ds_names": NAMES,
    "n_features": "32",
    "k": "2",
    "batch": 128,
    "tokens": 2_000,
    "device": "cpu",
}


def write_planted(home: Path) -> Path:
    """Write two folders that go together, and two that go with no other."""
    for seed, name in enumerate(NAMES):
        made = planted_acts(
            n_problems=10,
            rows_per_problem=100,
            layers=(0, 2),
            n_features=20,
            width=16,
            k=2,
            seed=seed,
        )
        write_acts(home / name, made)
    write_acts(
        home / "wide",
        planted_acts(
            n_problems=2, rows_per_problem=9, layers=(0,), n_features=9, width=24, k=2, seed=0
        ),
    )
    write_acts(
        home / "other-layer",
        planted_acts(
            n_problems=2, rows_per_problem=9, layers=(1,), n_features=9, width=16, k=2, seed=0
        ),
    )
    return home


def train(settings: Settings, **flags: Any) -> Path:
    return train_sae.run(train_sae.Config(**(SMALL | flags)), settings)
