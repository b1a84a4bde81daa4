"""Split by problem, never by row: all traces and steps of a problem fall on one side."""

import hashlib

_RANGE = 1 << 64


def is_test(problem_id: str, *, share: float, seed: int) -> bool:
    """Say whether a problem is held out: true for about `share` of all ids.

    A hash of the id and the seed decides, so the side of a problem does not depend on which other problems are there.
    """
    first = hashlib.sha256(f"{seed}:{problem_id}".encode()).digest()[:8]
    return int.from_bytes(first, "big") < share * _RANGE
