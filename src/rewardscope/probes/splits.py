"""Split by problem, never by row: all traces and steps of a problem fall on one side."""

import hashlib
from collections.abc import Iterable

_RANGE = 1 << 64


def is_test(problem_id: str, *, share: float, seed: int) -> bool:
    """Say whether a problem is held out: true for about `share` of all ids.

    A hash of the id and the seed decides, so the side of a problem does not depend on which other
    problems are there.
    """
    return _hash(f"{seed}:{problem_id}") < share * _RANGE


def deal_folds(problem_ids: Iterable[str], *, folds: int, seed: int) -> dict[str, int]:
    """Return the fold of each problem: dealt in turn in the order of a hash, so that sizes differ
    by one at most.
    """
    ordered = sorted(
        set(problem_ids), key=lambda problem_id: (_hash(f"fold:{seed}:{problem_id}"), problem_id)
    )
    return {problem_id: place % folds for place, problem_id in enumerate(ordered)}


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
