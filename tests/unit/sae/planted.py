"""Synthetic save-acts folders, written through the project's own functions, from a dictionary that
is known.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rewardscope.stage import Stage, StageConfig
from rewardscope.storage.sequences import ActSequence
from rewardscope.storage.shards import shard_file, write_shard
from tests.act_files import ActRow, write_act_rows

STEP_TAG = "<extra_0>"


class Acts(NamedTuple):
    """What a folder holds: states of each layer, and where each row comes from."""

    acts: dict[int, Tensor]
    rows: list[ActRow]
    sequences: list[ActSequence]


def write_acts(
    folder: Path, made: Acts, *, shard_rows: int = 100, width: int | None = None
) -> Path:
    """Write a finished save-acts folder."""
    stage = Stage(
        "save-acts", StageConfig(), inputs={"generations": f"synthetic {folder.name}"}, out=folder
    )
    with stage:
        files = list(write_act_rows(stage.work, made.rows, made.sequences))
        for number, start in enumerate(range(0, len(made.rows), shard_rows)):
            path = shard_file(stage.work, number)
            write_shard(
                path,
                {
                    layer: [acts_ND[start : start + shard_rows]]
                    for layer, acts_ND in made.acts.items()
                },
            )
            files.append(path)
        first = next(iter(made.acts.values()))
        stage.finish(
            files,
            rows=len(made.rows),
            extra={"layers": sorted(made.acts), "width": width or first.shape[1]},
        )
    return folder


def dictionary(n_features: int, width: int, *, seed: int) -> Tensor:
    """Return random unit directions [F, D]."""
    return torch.nn.functional.normalize(
        torch.randn(n_features, width, generator=torch.Generator().manual_seed(90_000 + seed)),
        dim=1,
    )


def sparse_codes(n_rows: int, n_features: int, *, k: int, seed: int) -> Tensor:
    """Return codes [N, F] with k features a row, each between 1 and 3."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((n_rows, n_features), dtype=np.float32)
    chosen = rng.random((n_rows, n_features)).argpartition(k, axis=1)[:, :k]
    np.put_along_axis(codes, chosen, rng.uniform(1, 3, size=(n_rows, k)).astype(np.float32), axis=1)
    return torch.from_numpy(codes)


def make_rows(
    tokens: list[list[str]],
    *,
    problems: list[str] | None = None,
    scores: float = 0.5,
    correct: list[bool] | None = None,
    every_token: bool = True,
) -> tuple[list[ActRow], list[ActSequence]]:
    """Return rows and sequences of one trace for each list of token texts; a step ends at each step
    tag.
    """
    rows, sequences = [], []
    for number, texts in enumerate(tokens):
        problem = problems[number] if problems else f"synthetic/{number}"
        trace = problems[:number].count(problem) if problems else 0
        ends = [position for position, text in enumerate(texts) if text == STEP_TAG]
        right = correct[number] if correct else None
        steps = [sum(end < position for end in ends) for position in range(len(texts))]
        sequences.append(
            ActSequence(
                problem=problem,
                trace=trace,
                tokens=tuple(texts),
                step_ends=tuple(ends),
                scores=(scores,) * len(ends),
                correct=right,
            )
        )
        rows += [
            ActRow(
                problem=problem,
                trace=trace,
                step=steps[position],
                token=position,
                token_id=len(text),
                is_step_end=position in ends,
                reward=scores if position in ends else None,
                correct=right,
            )
            for position, text in enumerate(texts)
            if every_token or position in ends
        ]
    return rows, sequences


def planted_acts(
    *,
    n_problems: int,
    rows_per_problem: int,
    layers: tuple[int, ...],
    n_features: int,
    width: int,
    k: int,
    seed: int,
) -> Acts:
    """Return states that are sparse sums of a planted dictionary (one a layer,
    `dictionary(seed=layer)`) plus an offset.
    """
    texts = [["a"] * (rows_per_problem - 1) + [STEP_TAG]] * n_problems
    rows, sequences = make_rows(texts)
    codes_NF = sparse_codes(len(rows), n_features, k=k, seed=seed)
    acts = {
        layer: 5 * (codes_NF @ dictionary(n_features, width, seed=layer)) + 7.0 for layer in layers
    }
    return Acts(acts, rows, sequences)
