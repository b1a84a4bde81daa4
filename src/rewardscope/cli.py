"""Make invoke tasks from stage configs: flags, help, and one-line errors with exit code 1.

Plain invoke rejects `--model_name` and shows a traceback for a bad integer; both are mended here.
"""

import dataclasses
import difflib
import inspect
import os
import re
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.tasks import Task

from rewardscope.errors import ConfigError, PipelineError, ToldElsewhere, UnknownName
from rewardscope.paths import PROJECT
from rewardscope.settings import Settings, launched, load_settings, publish_hf_token
from rewardscope.stage import StageConfig

Run = Callable[[Any, Settings], object]


def stage_task(name: str, config_class: type[StageConfig], run: Run) -> Task:
    """Return the invoke task `name` whose flags are the fields of `config_class` and whose body is
    `run`.
    """
    fields = dataclasses.fields(config_class)
    hints = typing.get_type_hints(config_class)

    def body(_context: Context, **flags: Any) -> None:
        try:
            with _told_once():
                given = {key: value for key, value in flags.items() if value not in (None, "")}
                _check_required(fields, given)
                config = config_class(
                    **{key: _convert(key, value, hints[key]) for key, value in given.items()}
                )
                settings = load_settings()
            publish_hf_token(settings)
            run(config, settings)
        except ToldElsewhere:
            raise Exit(code=1) from None
        except PipelineError as error:
            raise Exit(f"{name}: {error}", code=1) from None
        except KeyboardInterrupt:
            raise Exit(
                f"{name}: interrupted; the same command goes on from here", code=130
            ) from None

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
    return Task(body, name=name, help={f.name: _help(f) for f in fields}, auto_shortflags=False)


@contextmanager
def _told_once() -> Iterator[None]:
    """Leave an error that all processes of a run meet alike to the first of them."""
    try:
        yield
    except (PipelineError, ParseError):
        launch = launched()
        if launch and launch.rank:
            raise ToldElsewhere from None
        raise


def _help(f: dataclasses.Field) -> str:
    if f.default is dataclasses.MISSING:
        return f"{f.metadata['help']} (required)"
    shown = ",".join(map(str, f.default)) if isinstance(f.default, tuple) else f.default
    hidden = f.default is None or f.default is False or f.default in ("", ())
    return f.metadata["help"] if hidden else f"{f.metadata['help']} (default {shown})"


def _check_required(fields: tuple[dataclasses.Field, ...], given: dict[str, Any]) -> None:
    for f in fields:
        if f.default is dataclasses.MISSING and f.name not in given:
            raise ConfigError(f"--{f.name.replace('_', '-')} is required: {f.metadata['help']}")


def _convert(name: str, value: Any, hint: Any) -> Any:
    """Turn the text of a flag into the type of its field. Raises: ConfigError, UnknownName."""
    flag = f"--{name.replace('_', '-')}"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert(name, value, next(a for a in arguments if a is not type(None)))
    if hint is bool:
        return value
    if origin is typing.Literal:
        if value not in arguments:
            raise UnknownName(f"value of {flag}", value, arguments)
        return value
    if origin is tuple:
        # files given without a flag come a line each
        parts = value.split("\n" if "\n" in value else ",")
        return tuple(_convert(name, part.strip(), arguments[0]) for part in parts if part.strip())
    if hint in (int, float):
        try:
            return hint(value)
        except ValueError:
            raise ConfigError(
                f"{flag} {value}: not {'a whole number' if hint is int else 'a number'}"
            ) from None
    return Path(value) if hint is Path else value


def as_flags(config: StageConfig) -> list[str]:
    """Return the flags from which the task of this config makes the same config."""
    flags = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if value != f.default and value is not None:
            shown = "".join(f"{part}\n" for part in value) if isinstance(value, tuple) else value
            flags.append(f"--{f.name.replace('_', '-')}" + ("" if value is True else f"={shown}"))
    return flags


def _parse_argv(self: Parser, argv: list[str]) -> Any:
    """Parse `--model_name` as `--model-name` and `--n` as `-n`, and name the nearest flag or task
    when one is unknown.

    What a task with a flag `--files` is given without a flag are its files.
    """
    tidy = []
    for token in argv:
        flag, equals, value = token.partition("=")
        if re.fullmatch(r"--[a-zA-Z]", flag):
            flag = flag[1:]  # invoke knows a flag of one letter by one dash only
        elif flag.startswith("--"):
            flag = flag.replace("_", "-")
        tidy.append(flag + equals + value)
    try:
        with _told_once():
            return _invoke_parse_argv(self, _with_files(self, tidy))
    except ToldElsewhere:
        raise Exit(code=1) from None
    except ParseError as error:
        unknown = str(error).split("'")[1:2]
        task = error.context.name if error.context else None
        contexts = {
            alias
            for context in self.contexts.values()
            for alias in (context.name, *context.aliases)
        }
        known = (
            list(error.context.flags) if error.context and task in self.contexts else list(contexts)
        )
        nearest = difflib.get_close_matches(unknown[0], known, n=1) if unknown else []
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise ParseError(f"{str(error).splitlines()[0]}{hint}", error.context) from None


def _with_files(parser: Parser, tokens: list[str]) -> list[str]:
    """Gather the tokens that are neither a flag, nor the value of one, nor a task, after the flag
    `--files` of their task.
    """
    told: list[str] = []
    files: list[str] = []
    task, awaited = None, False
    for token in [*tokens, None]:
        if awaited and token is not None:
            told.append(token)
            awaited = False
        elif token is None or token in parser.contexts:
            told += ["--files", "".join(f"{file}\n" for file in files)] if files else []
            told += [] if token is None else [token]
            task, files = parser.contexts.get(token) if token else None, []
        elif task is not None and "--files" in task.flags and not token.startswith("-"):
            files.append(token)
        else:
            told.append(token)
            awaited = task is not None and token in task.flags and task.flags[token].takes_value
    return told


_invoke_parse_argv = Parser.parse_argv
Parser.parse_argv = _parse_argv  # type: ignore[method-assign]


def shell_task(name: str, summary: str, *commands: str) -> Task:
    """Return a task that runs commands of the project's own environment in turn and stops at the
    first that fails.
    """

    def body(_context: Context) -> None:
        # Many processes that import torch: without compiled modules each would take seconds more.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        for command in commands:
            program, *arguments = command.split()
            module = [sys.executable] if program == "python" else [sys.executable, "-m", program]
            code = subprocess.run(
                [*module, *arguments], cwd=PROJECT, env=environment, check=False
            ).returncode
            if code != 0:
                raise Exit(f"{name}: {command} failed", code=code)

    body.__doc__ = summary
    return Task(body, name=name)


def show(text: str) -> None:
    """Print a result to stdout."""
    sys.stdout.write(text + "\n")
