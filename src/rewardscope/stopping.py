"""What Ctrl-C and SIGTERM do to a task: it ends in one line that says how to go on, also while it
is still loading.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

GO_ON = "the same command goes on from here"
_LINES = {signal.SIGINT: f"interrupted; {GO_ON}", signal.SIGTERM: f"stopped by SIGTERM; {GO_ON}"}


class Terminated(BaseException):
    """SIGTERM came. Not an Exception, so that nothing takes it for an error to recover from."""


def exit_code(number: int) -> int:
    """Return the code with which a shell reports a program that a signal ended."""
    return 128 + number


def stopped_line(number: int) -> str:
    """Return what a task says that a signal ended."""
    return _LINES[signal.Signals(number)]


def exit_at_once() -> None:
    """Let Ctrl-C and SIGTERM end this program on the spot, in one line: while it loads, there is
    nothing to tidy up, and an exception would come out of an import as a traceback.

    Also let a reader that goes away (`invoke --list | head`) end it in silence.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        sys.stderr.write(f"rewardscope: {stopped_line(number)}\n")
        sys.stderr.flush()
        os._exit(exit_code(number))

    ours = _ours()
    for number in ours:
        signal.signal(number, stop)
    if ours:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


@contextmanager
def stops_raise() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C and Terminated on SIGTERM, in this process alone, also
    where a library makes another error of them.
    """
    own, received = os.getpid(), list[int]()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != own:  # a child that was forked: as it would be without us
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        received.append(number)
        raise _exception(number)

    before = {number: signal.signal(number, stop) for number in _ours()}
    if before:  # a task's work outlives whoever reads what it prints
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    except Exception:
        if not received:
            raise
        raise _exception(received[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


def _ours() -> list[signal.Signals]:
    """Return the signals that we handle: none in a thread or in a process of a larger run, which
    the one that started it ends; no signal that our own starter ignores.
    """
    in_a_run = "TORCHELASTIC_RUN_ID" in os.environ
    if in_a_run or threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in _LINES if signal.getsignal(number) is not signal.SIG_IGN]
