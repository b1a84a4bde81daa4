"""ReasonScore, a second ranking of features: how much they fire round words of reasoning, and how
evenly over these words. Source: arXiv 2503.18878 eq. 3 to 6.
"""

import re
from collections.abc import Sequence

import numpy as np

# Shape legend: T tokens of a sequence, W words, F features.
BEFORE, AFTER = 2, 3  # tokens of a window before and after the one where the word begins
_ENTROPY_POWER = 0.7


def word_windows(tokens: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """Return for each token of a sequence which word's window it is in: [T] int32, from 1; 0 is
    none.

    A word may span tokens; where windows overlap the earlier one keeps the token.
    """
    window_T = np.zeros(len(tokens), dtype=np.int32)
    if not words:
        return window_T
    ends_T = np.cumsum([len(text) for text in tokens])
    pattern = "|".join(f"({re.escape(word)})" for word in words)
    found = re.finditer(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", "".join(tokens), re.IGNORECASE)
    for match in found:
        at = int(np.searchsorted(ends_T, match.start(), side="right"))
        window = window_T[max(0, at - BEFORE) : at + AFTER + 1]
        window[window == 0] = match.lastindex or 0
    return window_T


def reason_scores(sum_WF: np.ndarray, rows_W: np.ndarray) -> np.ndarray:
    """Return the score [F] from activations summed over rows and the number of rows: outside all
    windows first, then in the windows of each word. NaN where no row is in a window, or none
    outside.

    p_R(i) H(i)^0.7 - p_NR(i): p is the share of a feature in the mean activation of all, inside and
    outside; H the entropy of its mean activation over the words, 1 where it is even.
    """
    inside = int(rows_W[1:].sum())
    if not inside or not rows_W[0]:
        return np.full(sum_WF.shape[1], np.nan)
    mean_WF = sum_WF[1:] / np.maximum(rows_W[1:], 1)[:, None]
    share_WF = mean_WF / np.maximum(mean_WF.sum(axis=0), 1e-300)
    logs_WF = np.log(share_WF, out=np.zeros_like(share_WF), where=share_WF > 0)
    entropy_F = -(share_WF * logs_WF).sum(axis=0) / max(np.log(len(rows_W) - 1), 1e-300)
    inside_F, outside_F = sum_WF[1:].sum(axis=0), sum_WF[0]
    return _shares(inside_F) * np.clip(entropy_F, 0, 1) ** _ENTROPY_POWER - _shares(outside_F)


def _shares(value_F: np.ndarray) -> np.ndarray:
    return value_F / max(float(value_F.sum()), 1e-300)
