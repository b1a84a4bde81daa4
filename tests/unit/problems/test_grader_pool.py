"""Grading processes wait for the next grader of their process, and end with it."""

import subprocess
import sys
from pathlib import Path

from rewardscope.problems import answers, grader_pool
from rewardscope.problems.answers import Attempt, Grader

HALF = [Attempt("0.5", r"\frac{1}{2}")]


def test_the_next_grader_takes_the_processes_of_the_last_one(monkeypatch):
    processes = []
    for _ in range(2):
        with Grader() as grader:
            assert grader.grade(HALF)[0].correct is True
            processes.append(grader._workers[0].process)
            assert processes[-1].poll() is None
    assert processes[0] is processes[1]
    monkeypatch.setattr(answers, "ITEM_SECONDS", 2.5)  # a process keeps the limit that it has
    with Grader() as grader:
        grader.grade(HALF)
        assert grader._workers[0].process is not processes[0]
    monkeypatch.undo()
    grader_pool.stop_all()
    assert processes[0].poll() is not None


def test_two_graders_at_once_share_no_process():
    with Grader() as one, Grader() as other:
        assert one.grade(HALF) == other.grade(HALF)
        assert one._workers[0].process is not other._workers[0].process


def test_the_processes_end_with_the_one_that_started_them():
    code = f"""
from rewardscope.problems.answers import Attempt, Grader
with Grader() as grader:
    grader.grade({HALF!r})
    print(grader._workers[0].process.pid)
"""
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stderr == ""
    assert not Path(f"/proc/{int(found.stdout)}").exists()
