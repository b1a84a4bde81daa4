"""What the manifest of a save-acts folder says of its states, checked when it is read."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.storage.typed import decode

MANIFEST = "manifest.json"


class ActsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How the states were made.

    What folders of older versions, or made by hand, do not say is None or empty.
    """

    layers: tuple[int, ...]
    width: int
    mode: Literal["rm", "lm"] = "rm"
    model: str | None = None
    """The model whose states are kept."""
    prm: str | None = None
    """The PRM whose states and scores they are; None for those of a policy."""
    positions: Literal["step-ends", "all-tokens", "last", "sample"] | None = None
    window: int | None = None
    """Positions that the model was trained on."""
    dtype: str | None = None
    generations: str | None = None
    """The generations file, as it was named."""
    traces: int | None = None
    problems: int | None = None
    shards: dict[str, tuple[int, str]] = {}
    """For each shard how many bytes were written, and a hash of its members."""


class ActsManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a save-acts folder, as far as readers of states need it."""

    stage: str
    settings: dict[str, Any]
    rows: int
    outputs: dict[str, str]
    """For each file its checksum."""
    skipped: dict[str, int] = {}
    """How many traces were left out, by reason."""
    extra: ActsInfo


class _Named(msgspec.Struct):
    stage: str
    extra: dict[str, Any]


def read_acts_manifest(folder: Path) -> ActsManifest:
    """Read the manifest of a finished save-acts folder.

    Raises: MissingInput where there is none, or that of another stage; BadRecord that names the
    field of a wrong type.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingInput(
            f"{folder} has no manifest, so it is not a finished save-acts folder; run invoke"
            " save-acts"
        )
    content = path.read_bytes()
    try:
        named = decode(content, msgspec.json.Decoder(_Named))
        if not {"layers", "width"} <= named.extra.keys():
            raise MissingInput(f"{folder} was made by {named.stage}; name a save-acts folder")
        return decode(content, msgspec.json.Decoder(ActsManifest))
    except BadRecord as error:
        raise BadRecord(f"{path}: {error}; re-run invoke save-acts") from None
