"""What a page shows of one feature, as typed records. What other tables know of a feature may be
absent.
"""

from typing import Any

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
    """What one measure of the PRM's scores changes by when the feature is edited, with its 95 %
    interval over `n` problems.

    result: of `feature-ablate`; against: the mean change by `n_controls` matched random features,
    and the range that 95 % of them lie in.
    """

    result: str
    edit: str
    measure: str
    value: float
    low: float | None
    high: float | None
    n: int
    n_controls: int
    against: tuple[float, float | None, float | None] | None


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """Controls of the comparison of two data sets, by name: those after which the feature still
    favours its side, those after which it does not, and those that had too few rows.
    """

    pair: tuple[str, str]
    favours: str
    survived: tuple[str, ...]
    failed: tuple[str, ...]
    unknown: tuple[str, ...]


class Twin(msgspec.Struct, frozen=True, kw_only=True):
    """The feature's best match in SAEs of other seeds, the worst of several."""

    runs: tuple[str, ...]
    cosine: float
    correlation: float | None
    stable: bool | None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The category that the feature is most selective of by the rules of `feature-label`; with
    `assigned` False it counts as mixed. low, high: of the lift.
    """

    result: str
    category: str
    assigned: bool
    purity: float
    base_rate: float
    lift: float
    low: float | None
    high: float | None


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the feature's tokens alone bring its activation back in other text; net: share of it
    beyond that of random tokens, with its interval over `n` problems.
    """

    result: str
    verdict: str
    reason: str | None
    strategy: str | None
    net: float | None
    low: float | None
    high: float | None
    n: int


class Known(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What other tables know of a feature."""

    labels: tuple[Label, ...] = ()
    controls: tuple[Controls, ...] = ()
    twin: Twin | None = None
    injections: tuple[Injection, ...] = ()
    ablation: tuple[Effect, ...] = ()


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
