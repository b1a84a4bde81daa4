"""The record that a stage writes last."""

from typing import Any

import msgspec


class InputDigest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an input came from, and the digest of what was read."""

    source: str
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a result was made from; its existence says that the result is whole.

    `outputs` has the SHA-256 of each file, by its path below the manifest's folder; `skipped`
    counts rows that were left out, by reason; `extra` is what readers of the result need.
    """

    stage: str
    schema: int
    key: str
    settings: dict[str, Any]
    inputs: dict[str, InputDigest]
    outputs: dict[str, str]
    rows: int
    skipped: dict[str, int] = {}
    extra: dict[str, Any] = {}
    versions: dict[str, str] = {}
    git: str | None = None
    platform: str = ""
    seconds: float = 0.0
    created: str = ""
