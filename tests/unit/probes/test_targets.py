"""What a probe can predict: one registry for flags, rows and metrics."""

from pathlib import Path

import numpy as np
import pytest

from rewardscope.errors import UnknownName
from rewardscope.probes import targets
from rewardscope.probes.table import Split, read_table
from rewardscope.stages.train_linreg import Config
from tests.e2e.toy_acts import make_acts


def test_another_target_is_one_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The number of the step, at all step ends: whatever a column of the rows holds will do."""
    position = targets.ProbeTarget(
        "step", "number of the step", lambda rows: rows.step_N, lambda rows: rows.step_N >= 0, False
    )
    monkeypatch.setitem(targets.TARGETS, "step", position)
    rows = make_acts(tmp_path).rows
    assert Config(ds_name="acts", target="step").target == "step"
    table = read_table(rows, "step", Split(test_share=0.2, seed=0, folds=2), name="acts")
    ends = rows.step_end_N
    np.testing.assert_array_equal(table.value[ends], rows.step_N[ends])
    assert not table.classes and position.metric == "r2"


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown value of --target 'rewards'; did you mean 'rew"):
        Config(ds_name="acts", target="rewards")
