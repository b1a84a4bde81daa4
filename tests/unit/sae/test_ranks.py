"""How the processes of a run share its work, from the flags and from who started them."""

import os
from typing import Any

import pytest
import torch

from rewardscope.errors import ConfigError, ReportedByAnotherProcess
from rewardscope.sae.train import distributed
from rewardscope.sae.train.ranks import mode_of
from rewardscope.settings import Launch, launched, own_run_id

FIRST, SECOND = (Launch(rank, 2, rank, 2, None) for rank in (0, 1))


@pytest.mark.parametrize(
    ("flags", "launch", "mode"),
    [
        (("none", 1), None, "none"),
        (("none", 2), None, "rows"),
        (("layers", 2), None, "layers"),
        (("rows", 1), FIRST, "rows"),
        (("none", 1), Launch(0, 1, 0, 1, None), "none"),
    ],
)
def test_processes_share_rows_unless_told_otherwise(
    flags: Any, launch: Launch | None, mode: str
) -> None:
    assert mode_of(*flags, launch) == mode


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("rows", 2), "--processes 2 in a run that torchrun started with 2; leave"),
        (("none", 1), "torchrun started 2 processes; add"),
    ],
)
def test_flags_that_contradict_torchrun_are_said_once(flags: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mode_of(*flags, FIRST)
    with pytest.raises(ReportedByAnotherProcess):
        mode_of(*flags, SECOND)


@pytest.mark.parametrize("own", [True, False])
def test_a_process_knows_who_started_it(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "TORCHELASTIC_RUN_ID": own_run_id() if own else "4b1d",
        "RANK": 5,
        "WORLD_SIZE": 8,
        "LOCAL_RANK": 1,
        "LOCAL_WORLD_SIZE": 4,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    launch = launched()
    assert launch == Launch(5, 8, 1, 4, os.getpid() if own else None)


@pytest.mark.parametrize(
    ("threads", "told", "taken"), [(8, None, [4]), (1, None, [1]), (8, "3", [])]
)
def test_a_process_takes_its_part_of_the_cpu(
    threads: int, told: str | None, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    seen: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    distributed._share_cpu(2)
    assert seen == taken
