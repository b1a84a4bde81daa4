"""One writer a result: a lock beside it that ends with its process, however that ends."""

import fcntl
import json
import os
import platform
import time
from pathlib import Path
from typing import IO

from rewardscope.errors import ConfigError


class ResultLock:
    """The lock of a result, a hidden file beside it that says who holds it.

    The system gives a lock back when its process ends, so none is ever stale.
    """

    def __init__(self, out: Path) -> None:
        self._out, self._path = out, out.with_name(f".{out.name}.lock")
        self._file: IO[str] | None = None

    def acquire(self, *, wait: bool = False) -> None:
        """Take the lock. Raises: ConfigError that says who holds it, unless told to wait."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while self._file is None:
            file = self._path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                message = f"{self._out} is being made by {_holder(file)}; wait for it, or stop it"
                file.close()
                raise ConfigError(message) from None
            if _is_at(file, self._path):
                self._file = file
            else:  # the one who held it has removed the file meanwhile
                file.close()
        self._file.truncate(0)
        json.dump({"pid": os.getpid(), "host": platform.node(), "since": _now()}, self._file)
        self._file.flush()

    def release(self) -> None:
        """Give the lock back, and remove its file."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def check_free(self) -> None:
        """Raises: ConfigError where another run holds the lock."""
        if self.is_there():
            self.acquire()
            self.release()

    def is_there(self) -> bool:
        """Say whether its file is there: some run holds the lock, or was killed as it did."""
        return self._path.is_file()

    def __enter__(self) -> "ResultLock":
        self.acquire(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        held = json.load(file)
        return f"process {held['pid']} on {held['host']} since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return "another run"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
