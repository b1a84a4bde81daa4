"""The contexts of features for free-text labels: the strongest, and random ones without firing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rewardscope.features.contexts import Example, TopPeaks, fill, of_shown, top_examples
from rewardscope.features.firing import DataSet, FiringFile, encode_store
from rewardscope.features.labeller import Context, Contexts
from rewardscope.sae.model.inference import Sae

BEFORE, AFTER = 12, 6  # tokens round the strongest
N_FIRES, N_RANDOM = 24, 48


def read_contexts(
    sae: Sae,
    features: Sequence[int],
    data_sets: Sequence[DataSet],
    scratch: Path,
    *,
    device: torch.device,
    seed: int,
) -> list[Contexts]:
    """Return the contexts of each feature, of both data sets together; the firings lie in files
    below `scratch` meanwhile.
    """
    place_F = np.full(sae.n_features, -1, dtype=np.int64)
    place_F[list(features)] = np.arange(len(features))
    tops = [TopPeaks(len(features), N_FIRES) for _ in data_sets]
    files = [FiringFile(scratch, data.store) for data in data_sets]
    try:
        for data, top, file in zip(data_sets, tops, files, strict=True):
            for piece in file.keep(encode_store(sae, data.store, device=device)):
                top.add(piece.rows, of_shown(piece, place_F))
        fires = top_examples(
            data_sets, tops, n_shown=len(features), n=N_FIRES, before=BEFORE, after=AFTER
        )
        examples = [[*mine, *_random(data_sets, seed=seed)] for mine in fires]
        for number, file in enumerate(files):
            fill(examples, number, file.read(), place_F)
    finally:
        for file in files:
            file.__exit__(None, None, None)
    texts = _texts(examples, data_sets)
    found = []
    for mine, of_feature in zip(fires, examples, strict=True):
        shown = [_context(one, texts) for one in of_feature]
        n = len(mine)
        silent = [one for one in shown[n:] if not any(one.values)]
        found.append(Contexts(shown[:n], silent))
    return found


def _random(data_sets: Sequence[DataSet], *, seed: int) -> list[Example]:
    """Return windows round random rows; the same for every feature."""
    examples, rng = [], np.random.default_rng(seed)
    for _ in range(N_RANDOM):
        number = int(rng.integers(len(data_sets)))
        rows = data_sets[number].store.rows
        row = int(rng.integers(len(rows)))
        sequence, token = int(rows.sequence_N[row]), int(rows.token_N[row])
        length = int(data_sets[number].store.sequences.lengths(np.array([sequence]))[0])
        end = min(token + AFTER + 1, length)
        examples.append(Example(number, sequence, token, max(0, token - BEFORE), end, {}))
    return examples


def _texts(
    examples: Sequence[Sequence[Example]], data_sets: Sequence[DataSet]
) -> dict[tuple[int, int], tuple[str, ...]]:
    """Return the tokens of the sequences that any context is of."""
    wanted: dict[int, set[int]] = {}
    for of_feature in examples:
        for one in of_feature:
            wanted.setdefault(one.data_set, set()).add(one.sequence)
    return {
        (number, sequence): found.tokens
        for number, sequences in wanted.items()
        for sequence, found in data_sets[number].store.sequences.chosen(sequences)
    }


def _context(example: Example, texts: dict[tuple[int, int], tuple[str, ...]]) -> Context:
    tokens = texts[example.data_set, example.sequence][example.start : example.end]
    values = [example.activations.get(place, 0.0) for place in range(example.start, example.end)]
    return Context(tokens, tuple(values))
