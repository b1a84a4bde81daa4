"""Grading processes, each running `grader_worker.py`, kept from one use to the next.

One takes seconds to start, so those that a grader gives back wait for the next one of this process;
all end with it.
"""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardscope.errors import PipelineError

WORKER = "rewardscope.problems.grader_worker"


class Worker:
    """One grading process, started by the first request and again after one that it did not
    survive.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        """The limit on CPU time for one request."""
        self.process: subprocess.Popen[str] | None = None

    def ask(self, request: Sequence[Any], *, wall_seconds: float) -> list[Any] | None:
        """Return the reply; None where the process ended on the request, or had to be ended."""
        process = self.process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answered, _, _ = select.select([process.stdout], [], [], wall_seconds)
            reply = process.stdout.readline() if answered else ""
        except BrokenPipeError:
            reply = ""
        except BaseException:  # a reply that nobody read must not answer the next request
            self.stop()
            raise
        if not reply.endswith("\n"):
            self.stop()
            return None
        return json.loads(reply)

    def _start(self) -> subprocess.Popen[str]:
        # -P: the folder one is in must not be searched for modules. A fixed hash seed keeps
        # sympy's order of symbols, and so a verdict, the same in every run.
        command = [sys.executable, "-P", "-m", WORKER, str(self.seconds)]
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            self.stop()
            raise PipelineError(f"the grading process did not start; {' '.join(command)} shows why")
        return self.process

    def stop(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            with self.process:  # closes the pipes and waits
                self.process = None


_idle: list[Worker] = []
_lock = threading.Lock()


def borrow(seconds: float) -> Worker:
    """Return a waiting worker with this limit on CPU time, or else a new one."""
    with _lock:
        for place, worker in enumerate(_idle):
            if worker.seconds == seconds:
                return _idle.pop(place)
    return Worker(seconds)


def give_back(worker: Worker) -> None:
    """Let a worker wait for the next `borrow`."""
    with _lock:
        _idle.append(worker)


def stop_all() -> None:
    """End every waiting worker."""
    with _lock:
        while _idle:
            _idle.pop().stop()


atexit.register(stop_all)
# two processes must not talk to one worker
os.register_at_fork(after_in_child=_idle.clear)
