"""The errors a user can cause.

Each message is one line: what, which value, where, and the next step.
"""

import difflib
import errno
import os
from collections.abc import Iterable


class PipelineError(Exception):
    """Base of every error that a task shows as one line with exit code 1."""


class ConfigError(PipelineError):
    """A flag, an environment variable or a combination of them cannot work."""


class MissingInput(PipelineError):
    """A file that a stage reads is not there, or is not whole."""


class BadRecord(PipelineError):
    """A row of an input breaks its schema."""


class ReportedByAnotherProcess(PipelineError):
    """Another process of the same run tells the user what is wrong."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, or None where none is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)), None)


class UnknownName(PipelineError):
    """A name is not in its registry; the message gives the nearest known one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        options = sorted(known)
        near = nearest(name, options)
        hint = f"did you mean {near!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}; {hint}known: {', '.join(options)}")


class TooLong(BadRecord):
    """An input has more tokens than the model has positions."""


_OF_THE_FILE_SYSTEM = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENAMETOOLONG,
    errno.EMFILE,
    errno.EIO,
}


def is_of_the_file_system(error: OSError) -> bool:
    """Say whether a full or read-only disk, a right or something in the way is the cause."""
    return error.errno in _OF_THE_FILE_SYSTEM


def os_error_line(error: OSError) -> str:
    """Return cause and path of an error of the file system in one line."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    places = [str(place) for place in (error.filename, error.filename2) if place is not None]
    detail = " -> ".join(places) or " ".join(str(error).split())
    return f"{detail}: {cause.lower() if cause[1:2].islower() else cause}"
