"""Two data sets whose features differ by design: some in themselves, some only because the tokens
differ, some only because of where in a trace they fire.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch

from rewardscope.features.contrast import Sides
from rewardscope.features.firing import DataSet, encode_store, open_data_set
from rewardscope.features.firing_buckets import FiringBuckets
from rewardscope.features.row_codes import PairRows
from rewardscope.sae.model.checkpoint import Sae
from rewardscope.storage.acts import ActStore
from tests.unit.features.firings import CPU
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts

BY_TOKEN, BY_POSITION, GENUINE, ALIKE = range(20), range(20, 30), range(30, 40), range(40, 100)
N_FEATURES, LENGTH = 100, 60
COMMON = [f"w{i}" for i in range(8)]
SPECIAL = ["Wait", "Hmm"]  # three times as frequent in reasoning


def identity_sae(n_features: int = N_FEATURES) -> Sae:
    """Return an SAE whose features are the coordinates."""
    eye = torch.eye(n_features)
    return Sae(
        W_enc_DF=eye,
        b_enc_F=torch.zeros(n_features),
        W_dec_FD=eye.clone(),
        b_dec_D=torch.zeros(n_features),
        threshold_F=torch.zeros(n_features),
        layer=0,
        info={},
    )


def planted(folder: Path, *, reasoning: bool, differ: bool, n_problems: int, seed: int) -> DataSet:
    """Write a folder of one trace a problem; without `differ` both sides are made alike.

    Reasoning has more special tokens, and longer traces cut to their second half: its rows lie
    late. BY_TOKEN fire on special tokens, BY_POSITION late in a trace, GENUINE more in reasoning
    whatever the token and place.
    """
    rng = np.random.default_rng(seed)
    tokens, states, kept = [], [], []
    for _ in range(n_problems):
        special = 0.45 if reasoning and differ else 0.15
        texts = [
            str(rng.choice(SPECIAL if rng.random() < special else COMMON)) for _ in range(LENGTH)
        ]
        texts[9::10] = [STEP_TAG] * len(texts[9::10])
        texts[0], texts[-1] = "w0", STEP_TAG
        place = np.arange(LENGTH) / (LENGTH - 1)
        ease = rng.normal(0, 0.3, size=N_FEATURES)  # rows of a problem go together
        odds = np.full((LENGTH, N_FEATURES), -2.5 + ease)
        is_special = np.isin(texts, SPECIAL)
        odds[:, BY_TOKEN] = np.where(is_special, 1.5, -4.0)[:, None]
        odds[:, BY_POSITION] = np.where(place < 0.4, -4.0, 1.0)[:, None]
        if reasoning and differ:
            odds[:, GENUINE] += 1.5
        fires = rng.random(odds.shape) < 1 / (1 + np.exp(-odds))
        tokens.append(texts)
        states.append(fires * rng.uniform(1, 2, size=odds.shape))
        chance = 0.15 + 0.85 * (place > 0.4) if reasoning and differ else np.full(LENGTH, 0.5)
        keep = rng.random(LENGTH) < chance
        keep[[0, -1]] = True  # so that the place in the trace is the same scale on both sides
        kept.append(keep)
    rows, sequences = make_rows(tokens, correct=[bool(b) for b in rng.random(n_problems) < 0.7])
    keep_N = np.concatenate(kept)
    rows = [row for row, keep in zip(rows, keep_N, strict=True) if keep]
    acts = {0: torch.from_numpy(np.concatenate(states)[keep_N].astype(np.float32))}
    return open_data_set(folder.name, ActStore(write_acts(folder, Acts(acts, rows, sequences))))


def planted_sides(folder: Path, *, differ: bool, n_problems: int, seed: int) -> tuple[DataSet, ...]:
    """Return both sides of the same problems."""
    return tuple(
        planted(
            folder / name,
            reasoning=side == 0,
            differ=differ,
            n_problems=n_problems,
            seed=seed + side,
        )
        for side, name in enumerate(("reasoning", "plain"))
    )


@contextmanager
def open_sides(
    data: tuple[DataSet, ...], folder: Path
) -> Iterator[tuple[Sides, list[FiringBuckets]]]:
    """Give the sides and their firings in the SAE of coordinates."""
    sae = identity_sae()
    with ExitStack() as stack:
        pieces = [encode_store(sae, each.store, device=CPU) for each in data]
        files = [
            stack.enter_context(FiringBuckets(folder, piece, n_features=N_FEATURES))
            for piece in pieces
        ]
        pair = stack.enter_context(PairRows(data[0], data[1], words=("wait",), folder=folder))
        yield Sides(pair, n_words=1), files
