"""Manifests: what a result is made of, and whether its files are still what was written.

A manifest lies inside a folder, beside a file (`manifest_of`). Files that it names stay below its
folder, whatever it says.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.records import Manifest
from rewardscope.storage.files import manifest_of, result_of, sha256

SCHEMA = 2  # 1 had no sizes


def root_of(result: Path) -> Path:
    """Return the folder below which the files of a result lie."""
    return manifest_of(result).parent


def read_manifest(result: Path) -> Manifest | None:
    """Return the manifest of a result, or None where it is not finished.

    Raises: BadRecord where it is torn, of a newer version, or names a file outside its folder.
    """
    return read_manifest_file(manifest_of(result))


def read_finished(result: Path) -> Manifest:
    """Return the manifest of a result. Raises: MissingInput where it is not finished, BadRecord."""
    manifest = read_manifest(result)
    if manifest is None:
        raise MissingInput(f"{result} is not finished: {manifest_of(result)} is not there")
    return manifest


def read_manifest_file(path: Path) -> Manifest | None:
    """Return the manifest in a file, or None where there is none. Raises: BadRecord."""
    if not path.is_file():
        return None
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecord(
            f"{path} is torn or no manifest ({error}); delete it, and run its task again"
        ) from None
    if manifest.schema > SCHEMA:
        raise BadRecord(
            f"{path} has schema {manifest.schema}, this version of rewardscope knows up to"
            f" {SCHEMA}; update rewardscope, or write elsewhere"
        )
    for name in manifest.outputs:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts:
            raise BadRecord(
                f"{path} names {name!r}, which is not below its folder; it was altered: delete it,"
                " and run its task again"
            )
    return manifest


def is_inside(root: Path, name: str) -> bool:
    """Say whether an output lies below its folder, also where links lead."""
    return (root / name).parent.resolve().is_relative_to(root.resolve())


def wrong_with_file(root: Path, manifest: Manifest, name: str) -> str:
    """Say what is wrong with a file of a result by its size; return "" where nothing is."""
    try:
        size = (root / name).stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    written = manifest.sizes.get(name, size)
    return "" if size == written else f"is damaged ({size} bytes, {written} were written)"


def wrong_with(result: Path, manifest: Manifest, *, read: bool = False) -> Iterator[str]:
    """Yield what is wrong with each file of a result: by its size, or by reading it all."""
    root = root_of(result)
    for name, digest in manifest.outputs.items():
        wrong = wrong_with_file(root, manifest, name)
        if not wrong and read and sha256(root / name) != digest:
            wrong = _ALTERED
        if wrong:
            yield f"{root / name} {wrong}"


_ALTERED = "is not what its manifest says"


def check_result(path: Path) -> None:
    """Check by size the files of the result that `path` belongs to.

    Raises: BadRecord that names the first file that is not whole.
    """
    result = result_of(path)
    manifest = read_manifest(result)
    wrong = next(wrong_with(result, manifest), None) if manifest else None
    if manifest and wrong:
        raise BadRecord(f"{wrong}; re-run invoke {manifest.stage}")


def check_file(path: Path, *, digest: str | None = None, at_most: int | None = None) -> None:
    """Compare a file with the manifest of its result; `digest` is its SHA-256 where it is known.

    One of more than `at_most` bytes is checked by its size alone, what no manifest names is taken
    as it is. Raises: BadRecord.
    """
    result = result_of(path)
    manifest = read_manifest(result)
    if manifest is None:
        return
    root = root_of(result)
    name = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
    if name not in manifest.outputs:
        return
    wrong = wrong_with_file(root, manifest, name)
    if wrong:
        raise BadRecord(f"{path} {wrong}; re-run invoke {manifest.stage}")
    if at_most is not None and path.stat().st_size > at_most:
        return
    if (digest or sha256(path)) != manifest.outputs[name]:
        raise BadRecord(
            f"{path} {_ALTERED}; re-run invoke {manifest.stage} with --force, or delete"
            f" {manifest_of(result)} to take it as it is"
        )
