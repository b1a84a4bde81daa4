"""The flags of tasks that load a model: where it runs, in which precision, and which revision."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.paths import hub_name
from rewardscope.stage import StageConfig, flag_of, option

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
DTYPE_HELP = (
    "precision that the model runs in: float32, bfloat16, float16, or auto (bfloat16 on a GPU,"
    " else float32)"
)


@dataclass(frozen=True, kw_only=True)
class DeviceFlag(StageConfig):
    """The flag of every task that computes with torch."""

    device: str = option(
        "auto", help="where to compute: cpu, cuda, cuda:0, or auto (a GPU if any)", key=False
    )


Flags = TypeVar("Flags", bound="RevisionFlag")


@dataclass(frozen=True, kw_only=True)
class RevisionFlag(DeviceFlag):
    """The flags of every task that loads a model."""

    revision: str | None = option(
        None,
        help="branch, tag or commit of the hub model; the same as NAME@REVISION for its name",
        key=False,
    )

    def revised(self: Flags, name: str) -> Flags:
        """Return the flags with the revision in the field that names the model.

        Raises: ConfigError where there is none to have a revision, or it has one already.
        """
        if self.revision is None:
            return self
        given, flag = getattr(self, name), flag_of(name)
        if given is None:
            raise ConfigError(f"--revision {self.revision}: pass {flag} as well")
        if Path(given).exists():
            raise ConfigError(f"--revision {self.revision}: {given} is a folder, which has none")
        revised = f"{given}@{self.revision}"
        if hub_name(revised).revision != self.revision:
            raise ConfigError(
                f"--revision {self.revision}: {flag} {given} is no hub id without a revision"
            )
        return dataclasses.replace(self, **{name: revised, "revision": None})


@dataclass(frozen=True, kw_only=True)
class ModelFlags(RevisionFlag):
    """The same, and the precision of the model."""

    dtype: DtypeName = option("auto", help=DTYPE_HELP, later=True)


def check_model(flag: str, name: str, *, writes: bool = False) -> None:
    """Say which flag names a model that is not there, or one that should write and only scores,
    before anything large is read.

    Raises: MissingInput, BadRecord.
    """
    from rewardscope.models.names import check_model_name, check_policy
    from rewardscope.prms import refuse_prm

    try:
        (check_policy if writes else check_model_name)(name)
        if writes:
            refuse_prm(name)
    except (MissingInput, BadRecord) as error:
        raise type(error)(f"{flag}: {error}") from None
