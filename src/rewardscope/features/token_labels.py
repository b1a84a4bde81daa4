"""The label of each token of a text, by the table of `label_rules.py`."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rewardscope.features.categories import category_of
from rewardscope.features.label_rules import LABELS, OF_TOKEN, PHRASES

# Shape legend: T tokens.
_SPECIAL = LABELS.index("special")
_PATTERNS = [
    (LABELS.index(label), re.compile("|".join(patterns), re.IGNORECASE))
    for label, patterns in reversed(PHRASES)
]


@lru_cache(maxsize=1 << 17)
def _of_token(text: str) -> int:
    return LABELS.index(OF_TOKEN[category_of(text)])


def label_codes(tokens: Sequence[str], *, tags: Sequence[int] = ()) -> NDArray[np.uint8]:
    """Return the label [T] of each token, as positions in LABELS; those at `tags` are special."""
    code_T = np.array([_of_token(text) for text in tokens], dtype=np.uint8)
    special_T = code_T == _SPECIAL
    start_T = np.cumsum([0, *map(len, tokens)])
    text = "".join(tokens)
    for code, pattern in _PATTERNS:
        spans = np.array([match.span() for match in pattern.finditer(text)]).reshape(-1, 2)
        first = np.searchsorted(start_T, spans[:, 0], side="right") - 1
        last = np.searchsorted(start_T, spans[:, 1], side="left")
        touched = np.zeros(len(start_T), dtype=np.int64)
        np.add.at(touched, first, 1)
        np.add.at(touched, last, -1)
        code_T[np.cumsum(touched)[:-1] > 0] = code
    code_T[special_T] = _SPECIAL
    code_T[list(tags)] = _SPECIAL
    return code_T
