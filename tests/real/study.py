"""What the chain's tables say of the features that favour reasoning: shares by category, control
and stability, each feature once, and the verdicts of injection.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from rewardscope.features.diff_table import CONTROLS, FeatureDiff, read_parts, survived
from rewardscope.features.injection_table import VERDICTS, VerdictRow
from rewardscope.features.label_rules import FORMATTING_LABELS
from rewardscope.features.labels_table import MIXED, CategoryShare, FeatureCategory
from rewardscope.features.shares import ALL, FORMATTING_SHARE, read_shares
from rewardscope.statistics.intervals import wilson
from rewardscope.storage.tables import columns_of, read_csv_as, write_csv

NONE, FAVOURS = "none", "favours reasoning"
FORMATTING, MOST = "formatting", "most on formatting"
POOLED = {ALL: FAVOURS, FORMATTING_SHARE: MOST}  # categories of feature-diff's shares
CATEGORIES = (
    *(MOST, FORMATTING, "special", "answer_frame", "metacognition", "latex"),
    *("maths_word", "number", "other", MIXED),
)
COMPARED = tuple(name for name in (NONE, *CONTROLS) if name not in ("solved", "all"))
"""Cut traces seldom reach their answer, so nothing is left of those that both sides solved."""
GROUPS = {"all": None, "stable": True, "unstable": False}


class StudyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One CSV row: of `n` features of an SAE that favour reasoning, `count` are of a category.

    A feature favours reasoning where it does so in at least `pairs` of the pairs of data sets,
    under the control; `pairs` 0 is of all that fire, and what is `pooled` counts a feature once for
    each pair. category: by feature-label; `most on formatting` counts features with more than half
    of their activation on formatting, however common that is; `favours reasoning` counts those that
    do among all that fire.
    """

    model: str
    sae: str
    control: str
    pairs: int
    group: str
    category: str
    count: int
    n: int
    share: float | None
    low: float | None
    high: float | None
    base_rate: float | None = None


class Feature(NamedTuple):
    """A feature over all pairs of data sets."""

    pairs: Mapping[str, int]
    """In how many it favours reasoning, by control."""
    stable: bool | None
    """In most of the pairs: correlations are of the rows of a pair."""
    most_on_formatting: bool
    """On average over the pairs where it favours reasoning, or over all where it never does."""
    category: str


class Tables(NamedTuple):
    """Where the results of an SAE lie."""

    diff: Path
    labels: Path


def features_of(tables: Tables) -> dict[int, Feature]:
    """Return every feature that fires in some pair."""
    assigned = {
        row.feature: row.category if row.assigned else MIXED
        for row in read_csv_as(tables.labels / "categories.csv", FeatureCategory)
        if row.scope == "all"
    }
    by_feature: dict[int, list[FeatureDiff]] = {}
    for row in read_parts([tables.diff]):
        by_feature.setdefault(row.feature, []).append(row)
    return {feature: _feature(rows, assigned[feature]) for feature, rows in by_feature.items()}


def _feature(rows: Sequence[FeatureDiff], category: str) -> Feature:
    favour = [row for row in rows if row.favours == "reasoning"]
    pairs = {control: sum(control in survived(row) for row in favour) for control in CONTROLS}
    mass = fmean(row.share_formatting for row in favour or rows)
    known = [row.stable for row in rows if row.stable is not None]
    stable = sum(known) > len(known) / 2 if known else None
    return Feature(pairs | {NONE: len(favour)}, stable, mass > 0.5, category)


def study_rows(model: str, sae: str, tables: Tables, *, pairs: Sequence[int]) -> list[StudyRow]:
    """Return the shares of one SAE, for each least number of pairs."""
    features, base_of = features_of(tables).values(), _base_rates(tables.labels)
    groups = GROUPS if any(one.stable is not None for one in features) else {"all": None}
    rows = []
    for least in pairs:
        for control in COMPARED if least else (NONE,):
            for group, stable in groups.items():
                of_group = [one for one in features if stable is None or one.stable is stable]
                favour = [one for one in of_group if one.pairs[control] >= least]
                fields = {"model": model, "sae": sae, "control": control, "pairs": least}
                fields["group"] = group
                rows.append(_row(len(favour), len(of_group), FAVOURS, None, fields))
                for category in CATEGORIES:
                    count = sum(_is_of(one, category) for one in favour)
                    rows.append(_row(count, len(favour), category, base_of.get(category), fields))
    return rows


def _is_of(feature: Feature, category: str) -> bool:
    if category == MOST:
        return feature.most_on_formatting
    if category == FORMATTING:
        return feature.category in FORMATTING_LABELS
    return feature.category == category


def _base_rates(labels: Path) -> dict[str, float | None]:
    """Return the share of each category's tokens."""
    shares = read_csv_as(labels / "shares.csv", CategoryShare)
    return {row.category: row.base_rate for row in shares if row.scope == "all"}


def _row(
    count: int, n: int, category: str, base_rate: float | None, fields: Mapping[str, Any]
) -> StudyRow:
    found = wilson(count, n) if n else None
    return StudyRow(
        **fields,
        category=category,
        count=count,
        n=n,
        share=found and found.value,
        low=found and found.low,
        high=found and found.high,
        base_rate=base_rate,
    )


def to_inject(tables: Tables, *, pair: tuple[str, str], most: int) -> tuple[int, ...]:
    """Return at most so many features that favour reasoning in a pair: half of them, where there
    are as many, survive matched tokens; each half by the largest difference of firing rates.
    """
    rows = [
        row
        for row in read_parts([tables.diff])
        if row.favours == "reasoning" and (row.reasoning, row.instruct) == pair
    ]
    rows.sort(key=lambda row: -row.difference)
    surviving = [row.feature for row in rows if "token" in survived(row)]
    others = [row.feature for row in rows if "token" not in survived(row)]
    room = max(most // 2, most - len(others))
    return tuple(sorted([*surviving[:room], *others[: most - len(surviving[:room])]]))


def verdict_rows(model: str, tables: Tables, injected: Path) -> list[StudyRow]:
    """Return the shares of the verdicts: of all features, by control survived, by stability."""
    features, found = features_of(tables), read_csv_as(injected / "verdicts.csv", VerdictRow)
    groups: dict[tuple[str, str], Callable[[Feature], bool]] = {
        (NONE, "all"): lambda _: True,
        ("token", "all"): lambda one: one.pairs["token"] > 0,
        ("not token", "all"): lambda one: not one.pairs["token"],
        (NONE, "stable"): lambda one: one.stable is True,
        (NONE, "unstable"): lambda one: one.stable is False,
        (NONE, FORMATTING): lambda one: _is_of(one, FORMATTING),
    }
    rows = []
    for (control, group), wanted in groups.items():
        mine = [row.verdict for row in found if wanted(features[row.feature])]
        fields = {"model": model, "sae": "injection", "control": control, "pairs": 1}
        fields["group"] = group
        rows += [_row(mine.count(name), len(mine), name, None, fields) for name in VERDICTS]
    return rows


def pooled_rows(model: str, tables: Tables) -> list[StudyRow]:
    """Return the shares that `feature-diff` gives of every source, features of all pairs pooled."""
    counts: dict[tuple[str, str, str, str], tuple[int, int]] = {}
    for row in read_shares([tables.diff]):
        if row.control in COMPARED and row.category in POOLED:
            key = (row.source.partition("-")[0], row.control, row.group, row.category)
            count, n = counts.get(key, (0, 0))
            counts[key] = (count + row.count, n + row.n)
    rows = []
    for (source, control, group, category), (count, n) in counts.items():
        fields = {"model": model, "sae": f"pooled: {source}", "control": control, "pairs": 1}
        fields["group"] = group
        rows.append(_row(count, n, POOLED[category], None, fields))
    return rows


def show_study(rows: Sequence[StudyRow]) -> str:
    """Lay out the table in Markdown: features once, features of all pairs pooled, verdicts."""
    pooled = [row for row in rows if row.sae.startswith("pooled")]
    verdicts = [row for row in rows if row.category in VERDICTS]
    once = [row for row in rows if row.category not in VERDICTS and row not in pooled]
    return "\n\n".join(
        [
            _markdown(once, (FAVOURS, MOST, FORMATTING, "metacognition")),
            _markdown(once, ("latex", "number", "maths_word", MIXED)),
            _markdown(pooled, (FAVOURS, MOST)),
            _markdown(verdicts, VERDICTS),
        ]
    )


def _markdown(rows: Iterable[StudyRow], categories: Sequence[str]) -> str:
    """Lay out a line for each SAE, number of pairs, control and group; n is of the last column."""
    lines: dict[tuple[str, ...], dict[str, StudyRow]] = {}
    for row in rows:
        key = (row.model, row.sae, str(row.pairs), row.control, row.group)
        lines.setdefault(key, {})[row.category] = row
    header = ("model", "of", "pairs", "control", "group", "n", *categories)
    cells = [header, ["---"] * len(header)]
    for key, line in lines.items():
        shown = [_shown(line[category]) for category in categories]
        cells.append([*key, str(line[categories[-1]].n), *shown])
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _shown(row: StudyRow) -> str:
    if row.share is None or row.low is None or row.high is None:
        return "-"
    return f"{row.share:.3f} [{row.low:.3f}, {row.high:.3f}]"


def write(path: Path, rows: Sequence[StudyRow]) -> None:
    """Write every row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, rows, fields=columns_of(StudyRow))
