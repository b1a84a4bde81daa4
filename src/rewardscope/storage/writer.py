"""Write files beside the work that makes them: threads with a bounded queue, and no error or file
lost.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class BackgroundWriter:
    """Run tasks on threads, at most `pending` ahead. Use as a context: its end waits for all of
    them.

    The error of a task is raised by the next call that waits for it, at the latest at the end of
    the context. Where the body itself fails, tasks that have not begun are dropped.
    """

    def __init__(self, *, threads: int, pending: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="writer")
        self._pending = pending
        self._open: deque[Callable[[], object]] = deque()

    def submit(self, task: Callable[[], T]) -> "Future[T]":
        """Queue a task; wait first where the queue is full."""
        while len(self._open) >= self._pending:
            self._open.popleft()()
        future = self._pool.submit(task)
        self._open.append(future.result)
        return future

    def then(self, action: Callable[[], object]) -> None:
        """Call `action` in the caller's thread some time after every task submitted so far is
        done.
        """
        self._open.append(action)

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._open:
                self._open.popleft()()
        finally:
            self._pool.shutdown(cancel_futures=True)
