"""The tables of `feature-ablate`: a row a set of features and measure, and what is known of each
feature that fires.
"""

from typing import Literal

import msgspec

Kind = Literal["check", "feature", "set", "category", "baseline"]


class AblationRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: what an edit of features does to one measure of the scores.

    kind: a single feature, a set of all that were chosen, those of one category, the same edit in a
    baseline SAE, or a check. original: the measure as it is (of score and size the mean score).
    change: new less original, low and high 95 % over problems. control: mean change by the random
    features, control_low and control_high 2.5 % and 97.5 % of their changes. margin: change less
    control (of a baseline: the change of the set less its own), its interval for all single
    features at once. chance: share of controls at least as far
    from 0, and of_many: of the largest of as many controls. rate: share of tokens where a feature
    fires; length: of what it writes there.
    """

    layer: int
    kind: Kind
    name: str
    n_features: int
    edit: str
    measure: str
    original: float
    change: float
    low: float | None
    high: float | None
    n_problems: int
    n_controls: int = 0
    control: float | None = None
    control_low: float | None = None
    control_high: float | None = None
    margin: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    chance: float | None = None
    of_many: float | None = None
    rate: float | None = None
    control_rate: float | None = None
    length: float | None = None
    control_length: float | None = None
    seed: int


class FeatureFact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One CSV row: a feature that fires on these solutions, and what its controls are matched
    by.
    """

    layer: int
    feature: int
    rate: float
    norm: float
    length: float
    category: str
    chosen: bool
