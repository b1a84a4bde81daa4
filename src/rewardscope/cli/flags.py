"""The flags of a task: from what a user typed to the values of a config, and their help."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invoke.parser.argument import Argument

from rewardscope.errors import ConfigError, UnknownName
from rewardscope.stage import StageConfig, flag_of

_LONGEST, _SHOWN = 300, 40  # characters of a number that is read, and that an error shows


class Flag(Argument):
    """A flag that knows what help calls its type, and whether it must be given."""

    metavar: str = ""
    is_required: bool = False


def make_config(config_class: type[StageConfig], typed: Mapping[str, Any]) -> StageConfig:
    """Make a config of what a user typed. Raises: ConfigError, UnknownName."""
    given = {name: value for name, value in typed.items() if value is not None}
    for f in dataclasses.fields(config_class):
        if given.get(f.name) == "":
            raise ConfigError(f"{flag_of(f.name)} is empty; give it a value, or leave it out")
        if f.default is dataclasses.MISSING and f.name not in given:
            raise ConfigError(f"{flag_of(f.name)} is required: {f.metadata['help']}")
    hints = typing.get_type_hints(config_class)
    config = config_class(
        **{name: _convert(flag_of(name), value, hints[name]) for name, value in given.items()}
    )
    config.check_values()
    return config


def described(made: Argument, config_class: type[StageConfig]) -> Flag:
    """Return an argument that invoke made of a field as a flag with its type."""
    field = next(
        f for f in dataclasses.fields(config_class) if f.name == (made.attr_name or made.name)
    )
    flag = Flag(
        names=made.names,
        kind=made.kind,
        default=made.default,
        help=made.help,
        optional=made.optional,
        attr_name=made.attr_name,
    )
    flag.metavar = _type_name(typing.get_type_hints(config_class)[field.name])
    flag.is_required = field.default is dataclasses.MISSING
    return flag


def help_text(f: dataclasses.Field) -> str:
    """Return what help says of a field: its text, and its default where there is one to show."""
    if f.default is dataclasses.MISSING:
        return f"{f.metadata['help']} (required)"
    shown = ",".join(map(str, f.default)) if isinstance(f.default, tuple) else f.default
    hidden = f.default is None or f.default is False or f.default in ("", ())
    return f.metadata["help"] if hidden else f"{f.metadata['help']} (default {shown})"


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _type_name(next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return f"{_type_name(arguments[0])},..."
    if origin is typing.Literal:
        return "|".join(arguments)
    return {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}.get(hint, "")


def _convert(flag: str, value: Any, hint: Any) -> Any:
    """Turn the text of a flag into the type of its field. Raises: ConfigError, UnknownName."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert(flag, value, next(a for a in arguments if a is not type(None)))
    if hint is bool:
        return value
    if origin is typing.Literal:
        if value not in arguments:
            raise UnknownName(f"value of {flag}", value, arguments)
        return value
    if origin is tuple:
        # files given without a flag come a line each
        parts = value.split("\n" if "\n" in value else ",")
        return tuple(_convert(flag, part.strip(), arguments[0]) for part in parts if part.strip())
    if hint in (int, float):
        return _number(flag, value, hint)
    return Path(value) if hint is Path else value


def _number(flag: str, text: str, kind: type[int] | type[float]) -> int | float:
    """Read a number; how large it may be is said by its option. Raises: ConfigError."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    if len(text) > _LONGEST:
        raise ConfigError(f"{flag} {shown}: a number of {len(text)} characters")
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{flag} {shown}: not {what}") from None
