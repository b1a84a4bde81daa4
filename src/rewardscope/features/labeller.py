"""Free-text labels of features by a language model, and how good they are: the model that made a
label, or another, must tell with it which new contexts make the feature fire (detection), and which
of five contexts is not the feature's (intruder, without the label).

Contexts that a label was made from are never asked about. Source: Paulo et al. 2024, arXiv
2410.13928.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from rewardscope.statistics.intervals import wilson

Ask = Callable[[str], str]
"""Gives a model's answer to a prompt."""
SHOWN, QUESTION = 8, 8  # contexts to make a label from; to be told apart in one question
INTRUDED = 4  # contexts of the feature beside an intruder
MIN_FIRES, MIN_SILENT = 4, 4  # held-out contexts of a kind, to be scored at all
_STRONG = 0.5  # from this share of a context's maximum on, tokens are marked


class Context(NamedTuple):
    """Neighbouring tokens with the activation at each."""

    tokens: tuple[str, ...]
    values: tuple[float, ...]


class Contexts(NamedTuple):
    """Of one feature: contexts in which it fires, the strongest first, and in which it does not."""

    fires: Sequence[Context]
    silent: Sequence[Context]


class FreeText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: a feature's label and its scores.

    detection: share of held-out contexts told right, as many firing as silent, so that it is the
    balanced accuracy and chance is 0.5; intruder: share of intruders found, chance 0.2; low, high:
    Wilson's intervals over contexts and questions; unread: answers that were none, counted as
    wrong.
    """

    layer: int
    feature: int
    label: str
    detection: float | None
    detection_low: float | None
    detection_high: float | None
    detection_n: int
    intruder: float | None
    intruder_low: float | None
    intruder_high: float | None
    intruder_n: int
    unread: int


def describe(contexts: Contexts, ask: Ask) -> str:
    """Return a label in one line, from every second of the strongest contexts."""
    shown = "\n".join(f"{n}. {_marked(one)}" for n, one in enumerate(_shown(contexts), start=1))
    answer = ask(
        "A feature of a neural network fires on the tokens between << and >> in these texts.\n\n"
        f"{shown}\n\nSay in one line of at most 20 words what the marked tokens, or what stands"
        " round them, have in common. Answer with that line alone."
    )
    lines = [" ".join(line.split()) for line in answer.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def score(
    layer: int, feature: int, label: str, contexts: Contexts, ask: Ask, *, seed: int
) -> FreeText:
    """Ask about contexts that the label was not made from."""
    rng = np.random.default_rng([seed, layer, feature])
    fires, silent = _held_out(contexts), list(contexts.silent)
    detected, unread = _detect(label, fires, silent, ask, rng)
    found, unread_too = _intrude(fires, silent, ask, rng)
    detection = wilson(sum(detected), len(detected)) if detected else None
    intruder = wilson(sum(found), len(found)) if found else None
    return FreeText(
        layer=layer,
        feature=feature,
        label=label,
        detection=detection and detection.value,
        detection_low=detection and detection.low,
        detection_high=detection and detection.high,
        detection_n=len(detected),
        intruder=intruder and intruder.value,
        intruder_low=intruder and intruder.low,
        intruder_high=intruder and intruder.high,
        intruder_n=len(found),
        unread=unread + unread_too,
    )


def _shown(contexts: Contexts) -> Sequence[Context]:
    return contexts.fires[::2][:SHOWN]


def _held_out(contexts: Contexts) -> list[Context]:
    shown = _shown(contexts)
    return [one for one in contexts.fires if not any(one is other for other in shown)]


def _detect(
    label: str,
    fires: Sequence[Context],
    silent: Sequence[Context],
    ask: Ask,
    rng: np.random.Generator,
) -> tuple[list[bool], int]:
    """Return for each context whether it was told right, and how many answers could not be read."""
    n = min(len(fires), len(silent))
    if n < min(MIN_FIRES, MIN_SILENT):
        return [], 0
    items = [(one, True) for one in fires[:n]] + [(one, False) for one in silent[:n]]
    items = [items[place] for place in rng.permutation(len(items))]
    right, unread = [], 0
    for start in range(0, len(items), QUESTION):
        asked = items[start : start + QUESTION]
        shown = "\n".join(f"{k}. {_plain(one)}" for k, (one, _) in enumerate(asked, start=1))
        answer = ask(
            f"A feature of a neural network fires on: {label}\n\nIn which of these texts does it"
            f" fire?\n\n{shown}\n\nAnswer with a JSON list of their numbers alone, such as [1, 3]"
            " or []."
        )
        numbers = _numbers(answer)
        unread += numbers is None
        told = set(numbers or ())
        right += [
            numbers is not None and (place in told) == truth
            for place, (_, truth) in enumerate(asked, start=1)
        ]
    return right, unread


def _intrude(
    fires: Sequence[Context], silent: Sequence[Context], ask: Ask, rng: np.random.Generator
) -> tuple[list[bool], int]:
    """Return for each intruder whether it was found, and how many answers could not be read."""
    found, unread = [], 0
    if len(fires) < INTRUDED:
        return [], 0
    for intruder in silent[: max(1, len(fires))]:
        chosen = [fires[place] for place in rng.choice(len(fires), INTRUDED, replace=False)]
        at = int(rng.integers(INTRUDED + 1))
        asked = [*chosen[:at], intruder, *chosen[at:]]
        shown = "\n".join(f"{k}. {_plain(one)}" for k, one in enumerate(asked, start=1))
        answer = ask(
            f"Four of these five texts have something in common. Which one does not belong?\n\n"
            f"{shown}\n\nAnswer with a JSON list of its number alone, such as [2]."
        )
        numbers = _numbers(answer)
        unread += numbers is None or len(numbers) != 1
        found.append(numbers == [at + 1])
    return found, unread


def _numbers(answer: str) -> list[int] | None:
    """Return the last list of numbers in an answer, None where there is none."""
    lists = re.findall(r"\[[\s\d,]*\]", answer)
    if not lists:
        return None
    try:
        return json.loads(lists[-1])
    except ValueError:
        return None


def _marked(context: Context) -> str:
    least = _STRONG * max(context.values)
    marked = [
        f"<<{text}>>" if value > 0 and value >= least else text
        for text, value in zip(context.tokens, context.values, strict=True)
    ]
    return _line("".join(marked))


def _plain(context: Context) -> str:
    return _line("".join(context.tokens))


def _line(text: str) -> str:
    """Return a text in one line: line breaks are written as such."""
    return text.replace("\n", "\\n")
