"""What a page shows of one feature, as typed records. What other tables know of a feature may be
absent.
"""

from typing import Any, Literal

import msgspec


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A mean where a feature fires against elsewhere; `difference` is [value, low, high, problems],
    None where there are too few problems.
    """

    fires: float | None
    elsewhere: float | None
    difference: tuple[float, float, float, int] | None
    n_fires: int
    n_elsewhere: int
    n_problems: int


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What changes when the feature is edited away; `against` is the same of matched random
    features.
    """

    what: str
    value: float
    low: float | None
    high: float | None
    n: int
    against: float | None = None


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """Controls of the comparison of two data sets, by name: those after which the feature still
    differs, and those after which it does not.
    """

    survived: tuple[str, ...]
    failed: tuple[str, ...] = ()


class Twin(msgspec.Struct, frozen=True, kw_only=True):
    """The feature's best match in an SAE of another seed."""

    run: str
    feature: int
    cosine: float
    correlation: float | None = None
    stable: bool | None = None


class Known(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What other tables know of a feature."""

    ablation: tuple[Effect, ...] = ()
    controls: Controls | None = None
    twin: Twin | None = None
    injection: Literal["token-driven", "partly", "context-dependent"] | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One feature with its statistics and contexts.

    n: rows where it fires; mean: where it fires; rates: by data set; kinds: share of its activation
    by category of the token; hist: rows in equal bins from 0 to max; thirds: rows where it fires in
    the low, middle and top third of that; texts: [text, share of its activation], None for step
    ends; partners: [feature, correlation, pmi, rows together]; examples, middle, low: contexts, see
    `TextStore`.
    """

    id: int
    rate: float
    n: int
    mean: float
    max: float
    mass: float
    rates: list[float]
    kinds: list[float]
    hist: list[int]
    thirds: list[int]
    steps: list[float | None]
    texts: list[tuple[str | None, float]]
    reward: Difference
    right: Difference
    diffs: list[list[Any]]
    examples: list[list[Any]]
    middle: list[list[Any]]
    low: list[list[Any]]
    partners: list[tuple[int, float, float, int]]
    cosine: float | None = None
    known: Known | None = None
