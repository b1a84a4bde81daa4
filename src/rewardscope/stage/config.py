"""The flags of a stage: dataclass fields with a default, a help text, and whether they count."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from rewardscope.paths import check_name


def option(default: Any = dataclasses.MISSING, *, help: str, key: bool = True) -> Any:
    """Declare a flag of a stage: its default, its help text, and whether its value changes the
    result.
    """
    return field(default=default, metadata={"help": help, "key": key})


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

    def check_names(self) -> None:
        """Raises: ConfigError for a --name or --run that could leave its folder."""
        for f in dataclasses.fields(self):
            if f.name in ("name", "run"):
                check_name(f"--{f.name}", getattr(self, f.name))
