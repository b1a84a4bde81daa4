"""feature-diff with all that an SAE is set beside, and by several processes at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rewardscope.features.diff_files import read_diff
from rewardscope.features.diff_table import CONTROLS, merge_parts
from rewardscope.features.shares import DiffShare, read_shares
from rewardscope.settings import Settings
from tests.e2e.planted_features import (
    BOTH,
    DIFF,
    NEWLINE,
    WIDTH,
    by_feature,
    diff,
    settings_on,
    write_inputs,
)

PARTS = 7


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def settings(inputs: Path, tmp_path: Path) -> Settings:
    return settings_on(inputs, tmp_path / "data")


def total(shares: list[DiffShare], **wanted: str) -> tuple[int, int]:
    rows = [s for s in shares if all(getattr(s, name) == value for name, value in wanted.items())]
    return sum(row.count for row in rows), sum(row.n for row in rows)


def test_controls_baselines_and_twins_stand_in_the_tables(settings: Settings) -> None:
    own = "math-rm-reasoner"
    flags = {"twin": ("planted",), "baseline": "planted", "same_texts": (own, own)}
    out = diff(settings, **flags, permutations=2)
    row = by_feature(read_diff(out), layer=5)[NEWLINE]
    # line breaks are in reasoning alone: no token is left to compare it on
    assert row.favours == "reasoning" and "token" not in (row.survives or "")
    assert (row.token_q, row.token_difference) == (1.0, 0.0)
    assert row.position_q is not None and row.position_q < 0.05
    assert row.auroc is not None and row.auroc > 0.9 and row.log_odds is not None
    assert (row.stable, row.twin_cosine, row.beta_own) == (True, 1.0, pytest.approx(1.0))
    assert by_feature(read_diff(out), layer=5)[BOTH].survives is None
    shares = read_shares([out])
    assert {share.control for share in shares} == {"none", *CONTROLS}
    sources = {"sae", "frozen", "random", "permuted-1", "permuted-2"}
    assert {share.source for share in shares} == sources
    one = {"category": "all", "group": "all"}
    assert total(shares, source="sae", control="none", **one) == (2, 2 * (WIDTH - 4))
    assert total(shares, source="frozen", control="none", **one) == (2, 2 * (WIDTH - 4))
    assert total(shares, source="permuted-1", control="none", **one)[0] == 0
    assert total(shares, source="sae", control="token", **one)[0] == 0
    assert total(shares, source="sae", control="none", group="stable", category="all")[0] == 2
    whitespace = {"source": "sae", "control": "none", "group": "all", "category": "whitespace"}
    assert total(shares, **whitespace) == (2, 2)


def test_seven_processes_at_once_make_the_table_of_one(settings: Settings, inputs: Path) -> None:
    flags = {"instruct": ("math-rm-plain", "math-rm-plain-2"), "random_sets": 0, "resamples": 20}
    code = (
        "import json, sys; from pathlib import Path; from rewardscope.settings import Settings;"
        " from rewardscope.stages import feature_diff;"
        " flags, data, saes = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]);"
        " flags = {k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()};"
        " feature_diff.run(feature_diff.Config(**flags),"
        " Settings(data_dir=data, sae_checkpoint_dir=saes))"
    )
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                json.dumps(DIFF | flags | {"part": part, "total": PARTS}),
                str(settings.data_dir),
                str(settings.sae_checkpoint_dir),
            ],
            stdout=subprocess.DEVNULL,
        )
        for part in reversed(range(1, PARTS + 1))
    ]
    assert [process.wait(timeout=500) for process in running] == [0] * PARTS
    merged = merge_parts(settings.data_dir / "features" / "planted" / "diff")
    whole = diff(settings, **flags, name="whole")
    assert merged == read_diff(whole)
