"""The tables of `inject`: what each strategy brought back of a feature, its verdict, and how many
features have which.
"""

from typing import Literal, get_args

import msgspec

from rewardscope.storage.tables import columns_of

Strategy = Literal["token", "tokens", "bigram", "trigram"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Verdict = Literal["token-driven", "partly", "context-dependent", "undecided"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class StrategyRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: a feature and a way to inject.

    units, units_control: texts of what is injected, a JSON list (of the control the first few);
    reasoning: mean over the windows of reasoning text where the feature fires of its maximum there;
    plain, injected, control: mean over all windows of the instruct text, of its maximum; share,
    share_control: (injected - plain) / (reasoning - plain); net: their difference, with its 95 %
    interval over problems, not corrected for the choice among strategies.
    """

    layer: int
    feature: int
    strategy: Strategy
    units: str
    units_control: str
    reasoning: float
    plain: float
    injected: float
    control: float
    share: float
    share_low: float | None
    share_high: float | None
    share_control: float
    control_low: float | None
    control_high: float | None
    net: float
    low: float | None
    high: float | None
    texts: int
    n: int


class VerdictRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: a feature, by its best strategy.

    net, low, high: of the strategy with the largest net share; the interval is of the truly
    largest, corrected for the choice; reason: why nothing is decided, else empty; n: problems of
    the side that has fewer.
    """

    layer: int
    feature: int
    verdict: Verdict
    reason: str | None
    strategy: Strategy | None
    net: float | None
    low: float | None
    high: float | None
    share: float | None
    share_control: float | None
    n: int


class VerdictShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: how many of a layer's features have a verdict, with Wilson's interval."""

    layer: int
    verdict: Verdict
    count: int
    n: int
    share: float
    low: float | None
    high: float | None


STRATEGY_FIELDS, VERDICT_FIELDS, VERDICT_SHARE_FIELDS = map(
    columns_of, (StrategyRow, VerdictRow, VerdictShare)
)
