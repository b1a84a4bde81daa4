"""Atomic writes and digests."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_EDGE = 1 << 20  # bytes hashed at each end of a large model file
FILE_ENDINGS = (
    ".jsonl",
    ".json",
    ".csv",
    ".parquet",
    ".html",
    ".pdf",
    ".png",
    ".npz",
    ".safetensors",
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and moved in, on failure
    removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one move."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON in one move.

    Raises: ValueError on NaN or infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system has none, copy it with its times."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def sha256(path: Path) -> str:
    """Return the hex digest of a whole file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def manifest_of(path: Path) -> Path:
    """Return where the manifest of a stage's output is: inside a folder, beside a file.

    An output that is not there yet is a file by its ending: a folder's name may hold dots, as in
    `math-rm-Qwen2.5-Math-7B`.
    """
    is_file = path.is_file() or (not path.is_dir() and path.suffix in FILE_ENDINGS)
    return path.with_name(f"{path.name}.manifest.json") if is_file else path / "manifest.json"


def result_of(path: Path) -> Path:
    """Return the result that a file belongs to: the nearest of itself and three folders above that
    has a manifest, else itself.
    """
    return next(
        (place for place in (path, *path.parents[:3]) if manifest_of(place).is_file()), path
    )


def digest(source: Path | str) -> str:
    """Identify an input without reading what is large.

    A stage's output is identified by its manifest (so a rebuilt input counts as new), a file also
    by its content (so one edited by hand counts as new), a model folder by its file names, sizes
    and the first and last MiB of each file, and anything else (a hub id) by its name.
    """
    path = Path(source)
    if not path.exists():
        return f"name:{source}"
    content = f"file:{sha256(path)}" if path.is_file() else ""
    if manifest_of(path).is_file():
        return f"manifest:{sha256(manifest_of(path))}{content}"
    if content:
        return content
    state = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        size = file.stat().st_size
        state.update(f"{file.relative_to(path)}:{size}\n".encode())
        with file.open("rb") as handle:
            state.update(handle.read(_EDGE))
            handle.seek(max(_EDGE, size - _EDGE))
            state.update(handle.read(_EDGE))
    return f"folder:{state.hexdigest()}"
