"""What is injected for a feature: the tokens, bigrams and trigrams of reasoning text on whose last
token it is strongest, and others as frequent on which it is not.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rewardscope.features.firing import DataSet
from rewardscope.features.injection_table import STRATEGIES, Strategy
from rewardscope.sae.model.inference import Sae

# Shape legend: N rows, E firings, F features that are looked at, G different n-grams, W windows.
ORDER: dict[Strategy, int] = {"token": 1, "tokens": 1, "bigram": 2, "trigram": 3}
"""Tokens of what each strategy injects."""
BEST: dict[Strategy, int] = {"token": 1, "tokens": 5, "bigram": 3, "trigram": 3}
"""And how many different ones it takes turns with."""
OWN_SHARE = 0.5  # from this share of its strongest score on, a token is the feature's own
N_CONTROLS = 32
Units = tuple[tuple[int, ...], ...]
"""Token ids of n-grams."""


class FiredTokens(NamedTuple):
    """The rows of a folder with every token captured, a sequence after the other, and the firings
    of some features on them.
    """

    problems: Sequence[str]
    problem_N: NDArray[np.int64]
    sequence_N: NDArray[np.int64]
    id_N: NDArray[np.int64]
    place_E: NDArray[np.int64]
    """Position of the feature among those that are looked at."""
    row_E: NDArray[np.int64]
    value_E: NDArray[np.float32]
    n_features: int


class Injectable(NamedTuple):
    """What one strategy injects for a feature, and what its control does."""

    units: Units
    controls: tuple[Units, ...]
    """For each of the units the n-grams of like frequency."""


def narrowed(sae: Sae, features: Sequence[int]) -> tuple[Sae, NDArray[np.int64]]:
    """Return an SAE that gives the same codes of these features, and the place of each feature of
    it among them, -1 of others.

    Without thresholds all features compete for the k places, so that all must be computed.
    """
    if sae.threshold_F is not None:
        chosen = torch.tensor(features, device=sae.b_enc_F.device)
        columns = {"W_enc_DF": sae.W_enc_DF[:, chosen], "W_dec_FD": sae.W_dec_FD[chosen]}
        rows = {"b_enc_F": sae.b_enc_F[chosen], "threshold_F": sae.threshold_F[chosen]}
        whole = {"b_dec_D": sae.b_dec_D, "k": None, "activation": sae.activation}
        part = Sae(**columns, **rows, **whole, layer=sae.layer, info=sae.info)
        return part, np.arange(len(features))
    place_F = np.full(sae.n_features, -1, dtype=np.int64)
    place_F[list(features)] = np.arange(len(features))
    return sae, place_F


def read_fired(
    data: DataSet, sae: Sae, features: Sequence[int], *, device: torch.device
) -> FiredTokens:
    """Encode all rows of a folder and keep the firings of some features."""
    from rewardscope.features.firing import encode_store

    part, place_F = narrowed(sae, features)
    found, start = [], 0
    for piece in encode_store(part, data.store, device=device):
        place_E = place_F[piece.feature_E]
        kept = np.flatnonzero(place_E >= 0)
        found.append((place_E[kept], piece.row_E[kept] + start, piece.value_E[kept]))
        start += len(piece.rows)
    place_E, row_E, value_E = (np.concatenate(column) for column in zip(*found, strict=True))
    rows = data.store.rows
    return FiredTokens(
        rows.problems,
        rows.problem_N.astype(np.int64),
        rows.sequence_N.astype(np.int64),
        rows.token_id_N.astype(np.int64),
        place_E,
        row_E.astype(np.int64),
        value_E,
        len(features),
    )


class _NGrams(NamedTuple):
    """The n-grams of all rows: which they are, how often, and which ends at each row (-1: none)."""

    ids_GO: NDArray[np.int64]
    count_G: NDArray[np.int64]
    code_N: NDArray[np.int64]


def find_units(
    fired: FiredTokens, *, min_count: int, seed: int
) -> list[dict[Strategy, Injectable]]:
    """Return for each feature what each strategy injects; a strategy without anything is left out.

    The score of an n-gram is the activation on its last token added up, over its count plus
    `min_count`: the mean, drawn towards 0 where there are few. It must come `min_count` times. What
    scores at least OWN_SHARE of the feature's best is its own and no control, nor is what holds
    such a token.
    """
    grams = {order: _ngrams(fired, order) for order in (1, 2, 3)}
    rng = np.random.default_rng(seed)
    shuffled = {order: rng.permutation(len(found.count_G)) for order, found in grams.items()}
    units: list[dict[Strategy, Injectable]] = []
    for place in range(fired.n_features):
        mine = np.flatnonzero(fired.place_E == place)
        scores = {
            order: _scores(found, fired.row_E[mine], fired.value_E[mine], min_count)
            for order, found in grams.items()
        }
        own = grams[1].ids_GO[_own(scores[1])][:, 0]
        units.append({})
        for strategy in STRATEGIES:
            order = ORDER[strategy]
            found = _injectable(
                grams[order],
                scores[order],
                np.isin(grams[order].ids_GO, own).any(axis=1) | _own(scores[order]),
                shuffled[order],
                n=BEST[strategy],
                min_count=min_count,
            )
            if found is not None:
                units[-1][strategy] = found
    return units


def _ngrams(fired: FiredTokens, order: int) -> _NGrams:
    n, base = len(fired.id_N), int(fired.id_N.max(initial=0)) + 1
    assert base**order < 2**63, (base, order)
    first = np.append(True, np.diff(fired.sequence_N) != 0)
    start_N = np.maximum.accumulate(np.where(first, np.arange(n), 0))
    whole = np.flatnonzero(np.arange(n) - start_N >= order - 1)
    key = np.zeros(len(whole), dtype=np.int64)
    for back in range(order - 1, -1, -1):
        key = key * base + fired.id_N[whole - back]
    keys, code, count_G = np.unique(key, return_inverse=True, return_counts=True)
    code_N = np.full(n, -1, dtype=np.int64)
    code_N[whole] = code
    ids = [keys // base**back % base for back in range(order - 1, -1, -1)]
    return _NGrams(np.stack(ids, axis=1), count_G, code_N)


def _scores(
    grams: _NGrams, row_E: NDArray, value_E: NDArray, min_count: int
) -> NDArray[np.float64]:
    code_E = grams.code_N[row_E]
    inside = code_E >= 0
    n = len(grams.count_G)
    mass_G = np.bincount(code_E[inside], weights=value_E[inside], minlength=n)
    return np.where(grams.count_G >= min_count, mass_G / (grams.count_G + min_count), 0.0)


def _own(score_G: NDArray) -> NDArray[np.bool_]:
    return score_G >= max(OWN_SHARE * float(score_G.max(initial=0.0)), 1e-12)


def _injectable(
    grams: _NGrams,
    score_G: NDArray,
    is_own_G: NDArray[np.bool_],
    shuffled_G: NDArray,
    *,
    n: int,
    min_count: int,
) -> Injectable | None:
    best = np.argsort(-score_G, kind="stable")[:n]
    best = best[score_G[best] > 0]
    others = shuffled_G[(~is_own_G & (grams.count_G >= min_count))[shuffled_G]]
    if not len(best) or not len(others):
        return None
    log_count = np.log(grams.count_G[others])
    controls = []
    for unit in best.tolist():
        away = np.abs(log_count - np.log(grams.count_G[unit]))
        nearest = others[np.argsort(away, kind="stable")[:N_CONTROLS]]
        controls.append(_units(grams, nearest))
    return Injectable(_units(grams, best), tuple(controls))


def _units(grams: _NGrams, codes: NDArray) -> Units:
    return tuple(tuple(ids) for ids in grams.ids_GO[codes].tolist())
