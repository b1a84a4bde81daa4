"""Errors of the rooms below, in the words of whoever calls from Python."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rewardscope.errors import PipelineError


@contextmanager
def in_arguments(names: Mapping[str, str]) -> Iterator[None]:
    """Name arguments in place of the flags of a task in the errors of what runs inside."""
    try:
        yield
    except PipelineError as error:
        message = str(error)
        for flag, argument in names.items():
            message = message.replace(flag, argument)
        error.args = (message,)
        raise
