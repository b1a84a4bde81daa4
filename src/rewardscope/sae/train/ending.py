"""How a training run of several processes ends that goes wrong: with one line, by one of them."""

import os
import signal
import threading
import time

from torch._C._distributed_c10d import Store

from rewardscope.log import get_logger
from rewardscope.settings import Launch

_GRACE = 3.0  # seconds in which those that are still there say so
GO_ON = "the same command goes on from the state that was saved last"


def is_first_to_tell(store: Store) -> bool:
    """Say whether no other process of the run has told the user how it ends."""
    return store.add("ending/told", 1) == 1


def _leaves(rank: int) -> str:
    return f"ending/{rank} leaves"


class Ending:
    """How a run ends that goes wrong. Each process that leaves says so, and only the first one to
    say it tells the user.

    The engine sends SIGTERM to those that are left when one has died. A process may then wait in a
    collective, where Python runs no signal handler; the handler's wake-up file still is written, so
    a thread that reads it ends the process.
    """

    def __init__(self, launch: Launch, store: Store) -> None:
        self._launch, self._store = launch, store
        self._lock = threading.RLock()  # the first thread to leave keeps it
        self._claimed: bool | None = None
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._handler = signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True).start()

    def claim(self) -> bool:
        """Say that this process leaves; return whether it is the one that tells the user."""
        self._lock.acquire()
        if self._claimed is None:
            try:
                self._store.set(_leaves(self._launch.rank), "")
                self._claimed = is_first_to_tell(self._store)
            except RuntimeError:  # the engine itself is gone
                self._claimed = True
        return self._claimed

    def who_is_lost(self) -> str:
        """Wait a moment for the other processes that are there to leave, and name those that do
        not.
        """
        until, everybody = time.monotonic() + _GRACE, range(self._launch.size)
        silent = list(everybody)
        while silent and time.monotonic() < until:
            silent = [rank for rank in silent if not self._has_left(rank)]
            time.sleep(0.02)
        if not silent:
            return f"the {self._launch.size} processes were stopped; {GO_ON}"
        named = (
            f"process{'es' * (len(silent) > 1)} {', '.join(map(str, silent))} of"
            f" {self._launch.size} (the first is 0)"
        )
        return (
            f"{named} died or stopped answering (killed, or out of memory?), so all were ended;"
            f" {GO_ON}"
        )

    def _has_left(self, rank: int) -> bool:
        try:
            return self._store.check([_leaves(rank)])
        except RuntimeError:
            return True

    def _watch(self) -> None:
        while signals := os.read(self._read, 1):
            if signals[0] == signal.SIGTERM:
                if self.claim():
                    get_logger().error(f"train-sae: {self.who_is_lost()}")
                os._exit(1)

    def close(self) -> None:
        """Leave signals as they were."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, self._handler)
        os.close(self._write)
