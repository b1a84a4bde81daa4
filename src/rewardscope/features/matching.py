"""Random features that are like given ones: the controls of what is done to those."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Shape legend: F features.
_NEAREST = 20  # features among which a control is drawn, or as many as there are draws


class FeatureFacts(NamedTuple):
    """What features are matched by, measured on the same tokens."""

    rate_F: NDArray[np.float64]
    """Share of tokens where it fires."""
    norm_F: NDArray[np.float64]
    """Of its decoder row."""
    length_F: NDArray[np.float64]
    """Of what it writes where it fires: mean activation times norm."""
    category_F: NDArray[np.int64]
    """A code of the kind of token that it is selective of."""


def matched_sets(
    facts: FeatureFacts, wanted: Sequence[int], *, excluded: Sequence[int], n_draws: int, seed: int
) -> list[tuple[int, ...]]:
    """Return up to `n_draws` sets of other features that fire, as large as the wanted one.

    Each member stands for one that is wanted: of its category where that has enough of them, and
    among the nearest by rate (log), decoder norm and length. Controls of one feature are the
    nearest ones, each once. Fewer sets, or none, where there are not enough other features.
    """
    candidates = np.setdiff1d(np.flatnonzero(facts.rate_F > 0), np.array(excluded, dtype=np.int64))
    if len(wanted) == 0 or len(candidates) < len(wanted):
        return []
    place_FK = _places(facts, candidates)
    rng = random.Random(f"matched|{seed}|{','.join(map(str, wanted))}")
    n_near = max(_NEAREST, n_draws)
    order = {
        feature: _nearest(facts, place_FK, feature, candidates, enough=n_near, rng=rng)
        for feature in wanted
    }
    if len(wanted) == 1:
        return [(other,) for other in order[wanted[0]][: min(n_draws, n_near)]]
    sets: dict[tuple[int, ...], None] = {}
    for draw in range(n_draws):
        taken: set[int] = set()
        for feature in rng.sample(list(wanted), len(wanted)):
            near = order[feature]
            turn = (draw + rng.randrange(n_near)) % n_near
            rotated = [*near[turn:n_near], *near[:turn], *near[n_near:]]
            taken.add(next(other for other in rotated if other not in taken))
        sets.setdefault(tuple(sorted(taken)))
    return list(sets)


def _places(facts: FeatureFacts, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each feature by rate, norm and length, in standard deviations of the candidates."""
    with np.errstate(divide="ignore"):
        columns = (np.log(facts.rate_F), facts.norm_F, np.log(facts.length_F))
    place_FK = np.stack([np.where(np.isfinite(c), c, 0.0) for c in columns], axis=1)
    spread_K = place_FK[candidates].std(axis=0)
    # what is the same for all candidates tells none from another
    return place_FK / np.where(spread_K > 1e-6, spread_K, np.inf)


def _nearest(
    facts: FeatureFacts,
    place_FK: NDArray[np.float64],
    feature: int,
    candidates: NDArray[np.int64],
    *,
    enough: int,
    rng: random.Random,
) -> list[int]:
    """Return the candidates from the nearest on, the first `enough` in random order; those of the
    feature's category first, where there are enough.
    """
    distance = np.linalg.norm(place_FK[candidates] - place_FK[feature], axis=1)
    ordered = candidates[np.argsort(distance, kind="stable")]
    alike = facts.category_F[ordered] == facts.category_F[feature]
    if alike.sum() >= enough:
        ordered = np.concatenate([ordered[alike], ordered[~alike]])
    near, rest = ordered[:enough].tolist(), ordered[enough:].tolist()
    rng.shuffle(near)
    return near + rest
