"""A full disk, a folder that cannot be written, and two runs of one result at once."""

import errno
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardscope.errors import ConfigError
from rewardscope.storage.files import manifest_of
from rewardscope.storage.locks import ResultLock
from rewardscope.storage.work import settle
from tests.faults.small_tasks import World, contents, in_child, leftovers, small_tasks

TASKS = ("infer", "save-acts", "train-linreg", "train-sae", "feature-diff", "dash", "metrics")
FILLED = {"save-acts": 3000, "train-sae": 2000, "train-linreg": 1500}
"""Bytes of the largest file that fits."""


@pytest.mark.parametrize("name", TASKS)
def test_a_full_disk_keeps_the_old_result_and_names_the_cause(
    template: World, tmp_path: Path, name: str
) -> None:
    world, report = template.copy(tmp_path / "data"), tmp_path / "report"
    task = small_tasks(world)[name]
    out = world.data / task.out
    old = contents(world.run(task, **task.other))

    def fill_and_run() -> None:
        """A file that grows beyond the limit fails in write(2), whoever writes it."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILLED.get(name, 300), FILLED.get(name, 300)))
        world.run(task, force=True)

    assert in_child(lambda: _reporting(fill_and_run, report), report=report) == 1
    said = report.read_text(encoding="utf-8").splitlines()[0]
    assert said.startswith("OSError") and os.strerror(errno.EFBIG) in said, said
    settle(out)
    assert contents(out) == old
    new = contents(world.run(task, force=True))
    assert new != old and not leftovers(world.data)


def _reporting(work: Callable[[], None], report: Path) -> None:
    """Leave room for the report itself: its file is written by the parent's limit no more."""
    try:
        work()
    except BaseException as error:
        line = f"{type(error).__name__}: {error}"
        report.write_text(line[:290], encoding="utf-8")
        os._exit(1)


@pytest.mark.parametrize("cause", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("name", TASKS)
def test_a_folder_that_cannot_be_written_keeps_the_old_result(
    template: World, tmp_path: Path, name: str, cause: int
) -> None:
    world, report = template.copy(tmp_path / "data"), tmp_path / "report"
    task = small_tasks(world)[name]
    old = contents(world.run(task, **task.other))

    def run() -> None:
        _refuse_writes(world.data, cause)
        world.run(task, force=True)

    assert in_child(run, report=report) == 1
    said = report.read_text(encoding="utf-8").splitlines()[0]
    assert os.strerror(cause) in said and str(world.data) in said, said
    assert contents(world.data / task.out) == old


def _refuse_writes(below: Path, cause: int) -> None:
    """Let every call of this process fail that would change a file below a folder."""

    def hear(event: str, args: tuple) -> None:
        opens = event == "open" and isinstance(args[2], int) and args[2] & 3
        changes = event in ("os.rename", "os.remove", "os.link", "os.rmdir", "os.mkdir")
        if (opens or changes) and str(below) in str(args[0]):
            raise OSError(cause, os.strerror(cause), str(args[0]))

    sys.addaudithook(hear)


def test_a_read_only_disk_is_named_before_anything_is_computed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = small_tasks(world)["metrics"]
    real = os.statvfs

    class ReadOnly:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda _path: ReadOnly())
    with pytest.raises(OSError, match="Read-only file system"):
        world.run(task)
    monkeypatch.setattr(os, "statvfs", real)
    assert not manifest_of(world.data / task.out).exists() and not leftovers(world.data)


def test_the_second_of_two_runs_says_who_holds_the_result(world: World, tmp_path: Path) -> None:
    task = small_tasks(world)["metrics"]
    old = contents(world.run(task, **task.other))
    pid = _holding(world.data / task.out, tmp_path / "held")
    try:
        with pytest.raises(
            ConfigError, match=rf"new\.metrics\.json is being made by process {pid}"
        ):
            world.run(task, force=True)
        assert contents(world.data / task.out) == old
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert contents(world.run(task, force=True)) != old  # the lock of a dead process is free
    assert not leftovers(world.data)


def test_a_result_that_is_there_is_skipped_while_another_run_replaces_it(
    world: World, tmp_path: Path
) -> None:
    task = small_tasks(world)["metrics"]
    old = contents(world.run(task))
    pid = _holding(world.data / task.out, tmp_path / "held")
    try:
        assert contents(world.run(task)) == old
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _holding(out: Path, sign: Path) -> int:
    """Start a process that holds the lock of a result; return its id."""
    pid = os.fork()
    if pid == 0:
        lock = ResultLock(out)
        lock.acquire()
        sign.touch()
        time.sleep(60)
        os._exit(0)
    while not sign.exists():
        time.sleep(0.01)
    return pid
