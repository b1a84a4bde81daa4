"""The counting behind the study's table, on tables made by hand."""

import json
from pathlib import Path

from rewardscope.features.diff_table import FeatureDiff
from rewardscope.features.injection_table import VERDICT_FIELDS
from rewardscope.features.labels_table import CATEGORY_FIELDS, SHARE_FIELDS
from rewardscope.storage.tables import columns_of, write_csv
from tests.real.study import FORMATTING, MOST, Tables, study_rows, to_inject, verdict_rows

# feature, pair, difference, controls survived (None: favours no side), stable, share on formatting
FIRED = (
    (0, "a", 0.4, "token,category", True, 0.9),
    (0, "b", 0.3, "", True, 0.7),
    (0, "c", 0.0, None, False, 0.0),  # stable in most pairs
    (1, "a", 0.5, "category", False, 0.1),
    (1, "b", 0.0, None, False, 1.0),  # no side: its share there counts for nothing
    (2, "a", 0.2, "token", False, 0.0),
    (3, "b", 0.0, None, True, 0.0),
)
LABELS = {0: ("punctuation", True), 1: ("latex", True), 2: ("whitespace", False)}


def _tables(folder: Path) -> Tables:
    blank = dict.fromkeys(columns_of(FeatureDiff), 1) | {"top_category": "word"}
    rows = [
        blank
        | {"feature": feature, "reasoning": f"r-{pair}", "instruct": "i", "difference": difference}
        | {"favours": "neither" if survives is None else "reasoning", "survives": survives}
        | {"stable": json.dumps(stable), "share_formatting": formatting}
        for feature, pair, difference, survives, stable, formatting in FIRED
    ]
    write_csv(folder / "part_01_of_01.csv", rows, fields=columns_of(FeatureDiff))
    assigned = {3: ("other", True)} | LABELS
    of_all = dict.fromkeys(CATEGORY_FIELDS, 1) | {"scope": "all"}
    labels = [
        of_all | {"feature": feature, "category": name, "assigned": json.dumps(sure)}
        for feature, (name, sure) in assigned.items()
    ]
    write_csv(folder / "categories.csv", labels, fields=CATEGORY_FIELDS)
    base = dict.fromkeys(SHARE_FIELDS, 1) | {"scope": "all", "features": "all"}
    shares = [base | {"category": FORMATTING, "share": 0.5, "base_rate": 0.2}]
    write_csv(folder / "shares.csv", shares, fields=SHARE_FIELDS)
    return Tables(folder / "part_01_of_01.csv", folder)


def test_a_feature_counts_once_by_control_stability_and_category(tmp_path: Path) -> None:
    rows = study_rows("m", "s", _tables(tmp_path), pairs=(0, 1, 2))
    found = {(r.pairs, r.control, r.group, r.category): (r.count, r.n) for r in rows}
    assert len(found) == len(rows)
    # 0, 1 and 2 favour reasoning somewhere, 0 in both pairs, 3 in none
    assert found[1, "none", "all", "favours reasoning"] == (3, 4)
    assert found[2, "none", "all", "favours reasoning"] == (1, 4)
    assert found[1, "none", "stable", "favours reasoning"] == (1, 2)
    assert found[1, "none", "unstable", "favours reasoning"] == (2, 2)
    assert found[1, "token", "all", "favours reasoning"] == (2, 4)
    assert found[1, "category", "unstable", "favours reasoning"] == (1, 2)
    assert found[0, "none", "all", "favours reasoning"] == (4, 4)
    assert found[0, "none", "all", "other"] == (1, 4)
    # whitespace of 2 is not sure, so 0 alone is of formatting
    assert found[1, "none", "all", FORMATTING] == found[1, "none", "all", MOST] == (1, 3)
    assert found[1, "none", "all", "mixed"] == found[1, "none", "all", "latex"] == (1, 3)
    assert found[1, "token", "all", FORMATTING] == (1, 2)
    assert found[1, "shared", "all", FORMATTING] == (0, 0)
    (row,) = [r for r in rows if (r.pairs, r.control, r.group) == (2, "none", "all") and r.n == 4]
    assert row.low is not None and row.high is not None and row.low < 0.25 < row.high
    base = {r.category: r.base_rate for r in rows}
    assert (base[FORMATTING], base["mixed"]) == (0.2, None)


def test_half_of_what_is_injected_survives_matched_tokens(tmp_path: Path) -> None:
    tables = _tables(tmp_path)
    assert to_inject(tables, pair=("r-a", "i"), most=2) == (0, 1)
    assert to_inject(tables, pair=("r-a", "i"), most=9) == (0, 1, 2)
    assert to_inject(tables, pair=("r-b", "i"), most=9) == (0,)
    of_one = dict.fromkeys(VERDICT_FIELDS, 1) | {"reason": None, "strategy": "token"}
    verdicts = [
        of_one | {"feature": 0, "verdict": "token-driven"},
        of_one | {"feature": 1, "verdict": "undecided"},
    ]
    write_csv(tmp_path / "verdicts.csv", verdicts, fields=VERDICT_FIELDS)
    rows = verdict_rows("m", tables, tmp_path)
    found = {(r.control, r.group, r.category): (r.count, r.n) for r in rows}
    assert found["none", "all", "token-driven"] == (1, 2)
    assert found["token", "all", "token-driven"] == (1, 1)
    assert found["not token", "all", "token-driven"] == (0, 1)
    assert found["none", "unstable", "undecided"] == (1, 1)
