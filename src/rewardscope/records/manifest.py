"""The record that a stage writes last."""

from typing import Any

import msgspec


class InputDigest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an input came from, and the digest of what was read."""

    source: str = ""
    digest: str = ""
    revision: str | None = None
    """The commit of a hub model or data set, where it was known."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a result was made from; its existence says that the result is whole.

    `outputs` has the SHA-256 of each file, by its path below the manifest's folder, `sizes` the
    bytes (empty in schema 1); `skipped` counts rows that were left out, by reason; `extra` is what
    readers of the result need. What a newer version adds is told by `schema`.
    """

    stage: str = ""
    schema: int = 1
    key: str = ""
    settings: dict[str, Any] = {}
    inputs: dict[str, InputDigest] = {}
    outputs: dict[str, str] = {}
    sizes: dict[str, int] = {}
    rows: int = 0
    skipped: dict[str, int] = {}
    extra: dict[str, Any] = {}
    versions: dict[str, str] = {}
    git: str | None = None
    platform: str = ""
    seconds: float = 0.0
    created: str = ""
