"""The flags of a stage: dataclass fields with a default, a help text, and whether they count."""

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any

from rewardscope.errors import ConfigError, UnknownName
from rewardscope.paths import check_name


def option(default: Any = dataclasses.MISSING, *, help: str, key: bool = True) -> Any:
    """Declare a flag of a stage: its default, its help text, and whether its value changes the
    result.
    """
    return field(default=default, metadata={"help": help, "key": key})


def flag_of(name: str) -> str:
    """Return the flag of a field."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Base of every stage's config.

    Every default and help text lives in the subclass and nowhere else.
    """

    force: bool = option(False, help="compute again and replace what is there", key=False)

    def result_settings(self) -> dict[str, Any]:
        """Return the values that change the result, as JSON types."""
        chosen = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["key"]
        }
        return json.loads(json.dumps(chosen, default=str))

    def default_settings(self) -> dict[str, Any]:
        """Return the defaults of the values that change the result, as JSON types."""
        chosen = {f.name: f.default for f in dataclasses.fields(self) if f.metadata["key"]}
        known = {name: value for name, value in chosen.items() if value is not dataclasses.MISSING}
        return json.loads(json.dumps(known, default=str))

    @property
    def naming_flag(self) -> str | None:
        """The flag that gives the result another place, or None where the task has none."""
        known = {f.name for f in dataclasses.fields(self)}
        return next((f"--{name}" for name in ("name", "run", "out") if name in known), None)

    def check_values(self) -> None:
        """Check what is the same for every stage, also where no command line has done so.

        Raises: ConfigError for a --name or --run that could leave its folder, or a seed below 0;
            UnknownName for a value that is none of the choices of its flag.
        """
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):
            value, flag = getattr(self, f.name), flag_of(f.name)
            if f.name in ("name", "run"):
                check_name(flag, value)
            if f.name.rpartition("_")[2] == "seed" and value < 0:
                raise ConfigError(f"{flag} {value}: it must be 0 or more")
            if typing.get_origin(hints[f.name]) is typing.Literal:
                choices = typing.get_args(hints[f.name])
                if value not in choices:
                    raise UnknownName(f"value of {flag}", value, choices)


def as_flags(config: StageConfig) -> list[str]:
    """Return the flags from which the task of this config makes the same config."""
    flags = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if value != f.default and value is not None:
            shown = "".join(f"{part}\n" for part in value) if isinstance(value, tuple) else value
            flags.append(flag_of(f.name) + ("" if value is True else f"={shown}"))
    return flags
