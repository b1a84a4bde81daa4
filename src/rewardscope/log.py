"""Logging, progress bars and run metrics. Results go to stdout; everything here goes to stderr."""

import logging
import sys
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rewardscope.settings import Settings

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")


class _Stderr(logging.Handler):
    """Write to what stderr is at the moment of the message: a program, or a test, may replace
    it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{printable(self.format(record))}\n")


def get_logger(name: str = "rewardscope") -> logging.Logger:
    """Return the project's logger; the first call makes it write `name: message` lines to
    stderr.
    """
    logger = logging.getLogger("rewardscope")
    if not logger.handlers:
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger if name == "rewardscope" else logger.getChild(name)


def printable(text: str, *, keep: str = "\n\t") -> str:
    r"""Return a text as a terminal may be given it: control characters, which could move its cursor
    or rename its window, and marks that turn the direction of writing are written as \x1b, \u202e.
    """
    return "".join(
        char if char in keep or char == " " or char.isprintable() else _escaped(char)
        for char in text
    )


def _escaped(char: str) -> str:
    """Return a character by its number where it is none that text is made of."""
    if unicodedata.category(char) in ("Zs", "Co", "Cn"):  # blanks, and what fonts may have
        return char
    return char.encode("unicode_escape").decode("ascii")


def show(text: str) -> None:
    """Print a result to stdout, which may know fewer characters than the result has."""
    encoding = sys.stdout.encoding or "utf-8"
    shown = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(f"{shown}\n")


def progress(
    items: Iterable[T], what: str, *, total: int | None = None, unit: str = "it"
) -> Iterable[T]:
    """Wrap `items` in a progress bar, on a terminal only."""
    from tqdm import tqdm

    return tqdm(
        items, desc=what, total=total, unit=unit, leave=False, disable=not _shows_progress()
    )


def progress_bar(what: str, *, total: int, unit: str, initial: int = 0) -> "tqdm":
    """Return a bar to update by hand, with the rate and the time left, on a terminal only."""
    from tqdm import tqdm

    return tqdm(
        desc=what,
        total=total,
        unit=f" {unit}s",
        initial=initial,
        unit_scale=True,
        leave=False,
        disable=not _shows_progress(),
    )


def _shows_progress() -> bool:
    return sys.stderr.isatty() and get_logger().isEnabledFor(logging.INFO)


class RunLog(Protocol):
    """Where training metrics go."""

    def log(self, metrics: dict[str, float], *, step: int) -> None: ...
    def finish(self) -> None: ...


class NullRunLog:
    """A run log that keeps nothing."""

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        pass

    def finish(self) -> None:
        pass


class WandbRunLog:
    """A run log that sends metrics to wandb; offline when there is no key."""

    def __init__(self, name: str, config: dict[str, Any], settings: Settings) -> None:
        import os

        import wandb

        if settings.wandb_api_key:
            os.environ.setdefault("WANDB_API_KEY", settings.wandb_api_key)
        mode = None if settings.wandb_api_key else "offline"
        self._run = wandb.init(
            project="rewardscope", name=name, config=config, mode=mode, dir=str(settings.data_dir)
        )

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        self._run.log(metrics, step=step)

    def finish(self) -> None:
        self._run.finish()


def open_run_log(wanted: bool, name: str, config: dict[str, Any], settings: Settings) -> RunLog:
    """Open a wandb run where it is wanted, else a log that keeps nothing."""
    return WandbRunLog(name, config, settings) if wanted else NullRunLog()
