"""The errors a user can cause.

Each message is one line: what, which value, where, and the next step.
"""

import difflib
from collections.abc import Iterable


class PipelineError(Exception):
    """Base of every error that a task shows as one line with exit code 1."""


class ConfigError(PipelineError):
    """A flag, an environment variable or a combination of them cannot work."""


class MissingInput(PipelineError):
    """A file that a stage reads is not there, or is not whole."""


class BadRecord(PipelineError):
    """A row of an input breaks its schema."""


class ToldElsewhere(PipelineError):
    """Another process of the same run tells the user what is wrong."""


class UnknownName(PipelineError):
    """A name is not in its registry; the message gives the nearest known one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        options = sorted(known)
        nearest = difflib.get_close_matches(name, options, n=1, cutoff=0.4)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        super().__init__(f"unknown {kind} {name!r}; {hint}known: {', '.join(options)}")


class TooLong(BadRecord):
    """An input has more tokens than the model has positions."""
