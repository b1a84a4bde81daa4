"""Invoke's parser and program with our spellings, hints and help."""

import difflib
import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import invoke.program
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.parser.context import ParserContext, to_flag

from rewardscope.cli.flags import Flag
from rewardscope.errors import ConfigError, PipelineError, ReportedByAnotherProcess
from rewardscope.log import printable
from rewardscope.settings import launched


class Program(invoke.program.Program):
    """Invoke with our parser: the program behind the command `rewardscope`."""

    def _make_parser(self) -> Parser:
        return TaskParser(self.collection.to_contexts(), initial=self.initial_context)


def install() -> None:
    """Let the command `invoke` parse and help as the program `rewardscope` does."""
    invoke.program.Parser = TaskParser  # pyright: ignore[reportPrivateImportUsage]


@contextmanager
def one_process_reports() -> Iterator[None]:
    """Leave an error that all processes of a run meet alike to the first of them."""
    try:
        yield
    except (PipelineError, ParseError):
        if _follows_another():
            raise ReportedByAnotherProcess from None
        raise


def _follows_another() -> bool:
    try:
        launch = launched()
    except ConfigError:  # what is being reported comes first
        return False
    return launch is not None and launch.rank > 0


class TaskParser(Parser):
    """Parse `--model_name` as `--model-name` and `--n` as `-n`, and name the nearest flag or task
    when one is unknown.

    What a task with a flag `--files` is given without a flag are its files.
    """

    def __init__(
        self, contexts: Any = (), initial: ParserContext | None = None, ignore_unknown: bool = False
    ) -> None:
        super().__init__(contexts, initial, ignore_unknown)
        for context in self.contexts.values():
            context.help_tuples = functools.partial(_help_lines, context)

    def parse_argv(self, argv: list[str]) -> Any:
        try:
            with one_process_reports():
                return super().parse_argv(_with_files(self, [_spelled(token) for token in argv]))
        except ReportedByAnotherProcess:
            raise Exit(code=1) from None
        except ParseError as error:
            said = " ".join(str(error).splitlines()[:1])
            line = printable(f"{said}{self._hint(error)}", keep="")
            raise ParseError(line, error.context) from None

    def _hint(self, error: ParseError) -> str:
        """Name what is nearest to the flag or task that is unknown."""
        unknown = str(error).split("'")[1:2]
        if error.context and error.context.name in self.contexts:
            known = list(error.context.flags)
        else:
            known = [
                str(name)
                for context in self.contexts.values()
                for name in (context.name, *context.aliases)
            ]
        nearest = difflib.get_close_matches(unknown[0], known, n=1) if unknown else []
        return f" Did you mean {nearest[0]}?" if nearest else ""


def _spelled(token: str) -> str:
    """Return a token as invoke wants it; it knows a flag of one letter by one dash only."""
    flag, equals, value = token.partition("=")
    if re.fullmatch(r"--[a-zA-Z]", flag):
        flag = flag[1:]
    elif flag.startswith("--"):
        flag = flag.replace("_", "-")
    return flag + equals + value


def _help_lines(context: ParserContext) -> list[tuple[str, str | None]]:
    """Return the flags of a task with their types: required ones first, the rest as in its config,
    --force last.
    """
    flags = list(dict.fromkeys(context.flags.values()))
    flags.sort(key=lambda f: (not (isinstance(f, Flag) and f.is_required), f.name == "force"))
    lines = []
    for flag in flags:
        spec, text = context.help_for(to_flag(flag.name))
        if isinstance(flag, Flag) and flag.metavar:
            spec = spec.replace("STRING", flag.metavar)
        lines.append((spec, text))
    return lines


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
