"""Tasks of invoke, made from the configs of stages and from shell commands."""

import dataclasses
import inspect
import os
import signal
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task

from rewardscope.cli.flags import described, help_text, make_config
from rewardscope.cli.parsing import one_process_reports
from rewardscope.errors import (
    PipelineError,
    ReportedByAnotherProcess,
    is_of_the_file_system,
    os_error_line,
)
from rewardscope.log import printable
from rewardscope.paths import PROJECT
from rewardscope.settings import Settings, load_settings, publish_hf_token
from rewardscope.stage import StageConfig
from rewardscope.stopping import GO_ON, Terminated, exit_code, stopped_line, stops_raise

Run = Callable[[Any, Settings], object]


def add_tasks(
    collection: Collection, stages: Mapping[str, tuple[type[StageConfig], Run]]
) -> Collection:
    """Add a task for each entry of a table, and return the collection; a name such as `lens.trace`
    is the task `trace` of the sub-collection `lens`.
    """
    homes = {"": collection}
    for name, (config_class, run) in stages.items():
        area, _, _ = name.rpartition(".")
        if area not in homes:
            homes[area] = Collection(area)
            collection.add_collection(homes[area])
        homes[area].add_task(stage_task(name, config_class, run))
    return collection


class StageTask(Task):
    """A task whose flags are the fields of a config."""

    config_class: type[StageConfig]

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        made = super().get_arguments(ignore_unknown_help)
        return [described(argument, self.config_class) for argument in made]


def stage_task(name: str, config_class: type[StageConfig], run: Run) -> Task:
    """Return the invoke task of a stage: its flags are the fields of `config_class`, its body is
    `run`.
    """
    fields = dataclasses.fields(config_class)
    hints = typing.get_type_hints(config_class)

    def body(_context: Context, **typed: Any) -> None:
        with _ends_in_one_line(name):
            with one_process_reports():
                config = make_config(config_class, typed)
                settings = load_settings()
            publish_hf_token(settings)
            run(config, settings)

    # Every flag reaches us as text (None when absent), so that conversion errors are ours; only
    # booleans stay invoke's.
    parameters = [inspect.Parameter("_context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for f in fields:
        default = f.default if hints[f.name] is bool else None
        parameters.append(
            inspect.Parameter(f.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
        )
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    body.__doc__ = inspect.getdoc(config_class)
    texts = {f.name: help_text(f) for f in fields}
    task = StageTask(body, name=name.rpartition(".")[2], help=texts, auto_shortflags=False)
    task.config_class = config_class
    return task


@contextmanager
def _ends_in_one_line(name: str) -> Iterator[None]:
    """Turn what a user or the system caused into one line and an exit code."""
    try:
        with stops_raise():
            yield
    except ReportedByAnotherProcess:
        raise Exit(code=1) from None
    except PipelineError as error:
        raise Exit(_line(f"{name}: {error}"), code=1) from None
    except OSError as error:
        if not is_of_the_file_system(error):
            raise
        said = f"{name}: {os_error_line(error)}; once that is mended, {GO_ON}"
        raise Exit(_line(said), code=1) from None
    except KeyboardInterrupt:
        number = signal.SIGINT
        raise Exit(f"{name}: {stopped_line(number)}", code=exit_code(number)) from None
    except Terminated:
        number = signal.SIGTERM
        raise Exit(f"{name}: {stopped_line(number)}", code=exit_code(number)) from None


def _line(text: str) -> str:
    """Return an error as one line that a terminal can be given."""
    return printable(" ".join(text.splitlines()), keep="")


def shell_task(
    name: str, summary: str, *commands: str, switches: Mapping[str, str] | None = None
) -> Task:
    """Return a task that runs commands of the project's own environment in turn and stops at the
    first that fails. `switches` are flags, with their help, that are handed to the first.
    """
    helps = switches or {}

    def body(_context: Context, **given: bool) -> None:
        # Many processes that import torch: without compiled modules each would take seconds more.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        chosen = [f"--{switch}" for switch, on in given.items() if on]
        for number, command in enumerate(commands):
            program, *arguments = command.split()
            module = [sys.executable] if program == "python" else [sys.executable, "-m", program]
            more = chosen if number == 0 else []
            with stops_raise():
                code = subprocess.run(
                    [*module, *arguments, *more], cwd=PROJECT, env=environment, check=False
                ).returncode
            if code != 0:
                raise Exit(f"{name}: {command} failed", code=code)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("_context", kind)]
    parameters += [inspect.Parameter(switch, kind, default=False) for switch in helps]
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    body.__doc__ = summary
    return Task(body, name=name, help=dict(helps), auto_shortflags=False)
