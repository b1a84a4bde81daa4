"""The flags of a stage: dataclass fields with a default, a help text, and whether they count."""

import dataclasses
import json
import math
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardscope.errors import ConfigError, UnknownName
from rewardscope.paths import check_name, slug

MOST = 2**31 - 1
"""The largest whole number that a flag takes where it says no other."""
_MOST_SEED = 2**63 - 1


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    key: bool = True,
    later: bool = False,
    model: bool = False,
    at_most: int = MOST,
) -> Any:
    """Declare a flag of a stage: its default, its help text, whether its value changes the result,
    and the largest whole number that makes sense.

    A flag that came `later` than results of its stage counts only where it is not its default, so
    that their keys stand. Of a flag that names a `model` a folder counts by its short name: what is
    in it is told by the digest of the input.
    """
    told = {"help": help, "key": key, "later": later, "model": model, "at_most": at_most}
    return field(default=default, metadata=told)


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
            f.name: _named(getattr(self, f.name)) if f.metadata["model"] else getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.metadata["key"]
            and not (f.metadata["later"] and getattr(self, f.name) == f.default)
        }
        return json.loads(json.dumps(chosen, default=str))

    def default_settings(self) -> dict[str, Any]:
        """Return the defaults of the values that change the result, as JSON types."""
        chosen = {f.name: f.default for f in dataclasses.fields(self) if f.metadata["key"]}
        known = {name: value for name, value in chosen.items() if value is not dataclasses.MISSING}
        return json.loads(json.dumps(known, default=str))

    def is_same_value(self, name: str, old: Any, new: Any) -> bool:
        """Say whether two values of a setting are one, also where an older version kept the folder
        of a model as it was typed.
        """
        models = {f.name for f in dataclasses.fields(self) if f.metadata["model"]}
        if name in models and isinstance(old, str) and isinstance(new, str):
            return slug(old) == slug(new)
        return old == new

    @property
    def naming_flag(self) -> str | None:
        """The flag that gives the result another place, or None where the task has none."""
        known = {f.name for f in dataclasses.fields(self)}
        return next((f"--{name}" for name in ("name", "run", "out") if name in known), None)

    def check_values(self) -> None:
        """Check what is the same for every stage, also where no command line has done so.

        Raises: ConfigError for a --name or --run that could leave its folder, a seed below 0, a
            whole number beyond its bound, NaN or infinity; UnknownName for a value that is none of
            the choices of its flag.
        """
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):
            value: Any = getattr(self, f.name)
            flag = flag_of(f.name)
            if f.name in ("name", "run"):
                check_name(flag, value)
            is_seed = f.name.rpartition("_")[2] == "seed"
            if is_seed and value < 0:
                raise ConfigError(f"{flag} {value}: it must be 0 or more")
            at_most: int = _MOST_SEED if is_seed else f.metadata["at_most"]
            for number in value if isinstance(value, tuple) else (value,):
                _check_number(flag, number, at_most)
            if typing.get_origin(hints[f.name]) is typing.Literal:
                choices = typing.get_args(hints[f.name])
                if value not in choices:
                    raise UnknownName(f"value of {flag}", str(value), choices)


def _named(model: str | None) -> str | None:
    """Return the name of a model that does not depend on how its folder was typed."""
    return slug(model) if model is not None and Path(model).is_dir() else model


def _check_number(flag: str, value: Any, at_most: int) -> None:
    """Refuse what no number of a flag can be. Raises: ConfigError."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{flag} {value}: not a finite number")
    if isinstance(value, int) and not -at_most <= value <= at_most:
        shown = value if value.bit_length() < 70 else f"of {value.bit_length()} bits"
        bound = {MOST: "2**31 - 1", _MOST_SEED: "2**63 - 1"}.get(at_most, at_most)
        raise ConfigError(f"{flag} {shown}: it must be at most {bound}")


def as_flags(config: StageConfig) -> list[str]:
    """Return the flags from which the task of this config makes the same config."""
    flags = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if value != f.default and value is not None:
            shown = "".join(f"{part}\n" for part in value) if isinstance(value, tuple) else value
            flags.append(flag_of(f.name) + ("" if value is True else f"={shown}"))
    return flags
