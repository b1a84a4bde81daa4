"""Every writing task is killed at file operations that are drawn at random: the old result is whole
afterwards, or the new one is, and the same command ends in what an undisturbed run gives.
"""

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardscope.storage.manifests import manifest_of
from rewardscope.storage.work import settle
from tests.faults.small_tasks import (
    SmallTask,
    World,
    contents,
    in_child,
    kill_self,
    leftovers,
    small_tasks,
)

TASKS = (
    "infer",
    "infer-with-prm",
    "save-acts",
    "train-linreg",
    "train-sae",
    "feature-diff",
    "dash",
    "metrics",
    "figures",
    "import-traces",
)
KILLS = 2  # of each task, with an old result in its place and without
_CHANGES = {"os.rename", "os.remove", "os.link", "os.rmdir", "os.mkdir", "os.truncate"}
survived: list[str] = []


class Operations:
    """Counts what changes files below a folder in this process, and kills it before the n-th.

    Half of a file that is about to be synced is cut off, as after a loss of power.
    """

    def __init__(self, below: Path, *, kill_at: int | None) -> None:
        self.count, self._below, self._kill_at = 0, str(below), kill_at
        self._fsync = os.fsync
        os.fsync = self._sync
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & 3
        if (writes or event in _CHANGES) and self._below in str(args[0]):
            self._next(lambda: None)

    def _sync(self, number: int) -> None:
        self._next(lambda: _cut(number))
        self._fsync(number)

    def _next(self, before: Callable[[], None]) -> None:
        self.count += 1
        if self.count == self._kill_at:
            before()
            kill_self()


def _cut(number: int) -> None:
    try:
        os.ftruncate(number, os.fstat(number).st_size // 2)
    except OSError:  # a folder
        return


@pytest.mark.parametrize("has_old", [True, False], ids=["replaced", "new"])
@pytest.mark.parametrize("name", TASKS)
def test_a_killed_task_loses_nothing_and_ends_in_the_same_result(
    template: World, tmp_path: Path, name: str, has_old: bool
) -> None:
    before = template.copy(tmp_path / "before")
    task = small_tasks(before)[name]
    old = contents(before.run(task, **task.other)) if has_old else None
    undisturbed, report = before.copy(tmp_path / "undisturbed"), tmp_path / "report"
    n_operations = _count(undisturbed, name, forced=has_old, report=report)
    expected = contents(undisturbed.data / task.out)
    moments = random.Random(f"{name} {has_old}").sample(range(1, n_operations + 1), KILLS)
    for moment in moments:
        where = f"{name} before operation {moment} of {n_operations}"
        world = before.copy(tmp_path / f"data-{moment}")
        own = small_tasks(world)[name]

        def run_killed(world: World = world, own: SmallTask = own, moment: int = moment) -> None:
            Operations(world.data, kill_at=moment)
            world.run(own, force=has_old)

        status = in_child(run_killed, report=report)
        assert status == -signal.SIGKILL, f"{where}: {status} {report.read_text()}"
        out = world.data / own.out
        settle(out)  # as whatever reads it next does
        found = contents(out) if manifest_of(out).is_file() else None
        assert found in (old, expected), where
        world.run(own, force=has_old)
        assert contents(out) == expected, where
        assert not leftovers(world.data), where
        survived.append(where)


def _count(world: World, name: str, *, forced: bool, report: Path) -> int:
    """Return how many operations a run makes that nobody disturbs."""
    count = report.with_name("count")

    def run() -> None:
        operations = Operations(world.data, kill_at=None)
        world.run(small_tasks(world)[name], force=forced)
        count.write_text(str(operations.count), encoding="utf-8")

    assert in_child(run, report=report) == 0, report.read_text()
    return int(count.read_text())


def test_how_many_kills_were_tried(capsys: pytest.CaptureFixture[str]) -> None:
    if not survived:
        pytest.skip("no kill ran in this process")
    with capsys.disabled():
        print(
            f"\n{len(survived)} kills survived of {len(TASKS)} tasks, {KILLS} each with and"
            " without an old result"
        )
