"""Split by problem, never by row: all traces and steps of a problem fall on one side.

The one rule for probes, SAEs and whatever selects by problem: a problem is held out where a hash of
its id and a seed is below a share. With one seed a larger share holds out the same problems and
more, so what an SAE never saw holds all test problems of a probe.
"""

import hashlib
from collections.abc import Iterable

TEST_SHARE, SPLIT_SEED = 0.2, 0  # of every split, unless a flag says otherwise
_RANGE = 1 << 64


def is_test(problem_id: str, *, share: float, seed: int) -> bool:
    """Say whether a problem is held out: true for about `share` of all ids.

    A hash of the id and the seed decides, so the side of a problem does not depend on which other
    problems are there.
    """
    return _hash(f"{seed}:{problem_id}") < share * _RANGE


def hold_out(problem_ids: Iterable[str], *, share: float, seed: int) -> frozenset[str]:
    """Return the problems that are held out, but at least one and never all of two or more.

    Where the rule holds out none, it is the one of the lowest hash; where all, the one of the
    highest hash stays.
    """
    ordered = sorted(set(problem_ids), key=lambda name: (_hash(f"{seed}:{name}"), name))
    assert len(ordered) > 1, ordered
    n_held = sum(is_test(name, share=share, seed=seed) for name in ordered)
    return frozenset(ordered[: min(max(1, n_held), len(ordered) - 1)])


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
