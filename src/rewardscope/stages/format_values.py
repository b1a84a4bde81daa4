"""How the traces of a generations file are written: steps, boxes, and the kinds of their text."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rewardscope.records import SolvedProblem
from rewardscope.stages.measures import amount, share
from rewardscope.storage.tables import show_table, shown

_PIECE = re.compile(r"\s+|[^\W\d_]+|\d|.", re.DOTALL)  # about what tokens are
_BOX = re.compile(r"\\(?:boxed|fbox)\b")
_MARKDOWN = re.compile(r"^\s*(?:[-*•]\s|#+\s|\d+\.\s|\*\*)", re.MULTILINE)


def of_format(solved: Sequence[SolvedProblem], *, seed: int) -> dict[str, Any]:
    """Return estimates over problems: steps of a trace, characters of a step, shares of traces with
    a box and of steps with a list, a heading or bold text, and the share of characters by label
    (`features/label_rules.py`).
    """
    per_problem = [_of_problem(row) for row in solved]
    found = {}
    for name in dict.fromkeys(name for row in per_problem for name in row):
        values = [row.get(name, 0.0) for row in per_problem]
        estimate = share if name == "boxed" else amount
        found[name] = asdict(estimate(values, seed=seed))
    return found


def _of_problem(row: SolvedProblem) -> dict[str, float]:
    each = [_of_trace(trace.steps, trace.delimiter) for trace in row.traces]
    names = dict.fromkeys(name for found in each for name in found)
    return {name: math.fsum(found.get(name, 0.0) for found in each) / len(each) for name in names}


def _of_trace(steps: Sequence[str], delimiter: str) -> dict[str, float]:
    from rewardscope.features.label_rules import LABELS
    from rewardscope.features.token_labels import label_codes

    text = delimiter.join(steps)
    pieces = _PIECE.findall(text)
    lengths = dict.fromkeys(LABELS, 0)
    for code, piece in zip(label_codes(pieces), pieces, strict=True):
        lengths[LABELS[code]] += len(piece)
    n_steps, n_characters = max(1, len(steps)), max(1, len(text))
    return {
        "steps": float(len(steps)),
        "characters_per_step": len(text) / n_steps,
        "boxed": float(_BOX.search(text) is not None),
        "steps_with_markdown": sum(bool(_MARKDOWN.search(step)) for step in steps) / n_steps,
        **{f"text_{label}": n / n_characters for label, n in lengths.items()},
    }


def format_table(found: Mapping[str, Any]) -> str:
    """Lay out the estimates, as `metrics` shows them."""
    rows = []
    for name, e in found.items():
        form = ".1f" if name in ("steps", "characters_per_step") else ".3f"
        bounds = (shown(e[bound], form) for bound in ("value", "low", "high"))
        rows.append((name.replace("_", " "), *bounds, e["n"]))
    return show_table(("a trace's text", "mean", "95 % low", "high", "n"), rows)
