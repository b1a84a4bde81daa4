"""Where a result is made: a hidden folder beside it, moved in when the result is whole.

`.<name>.<key>.work` holds the files under their final names. The manifest, written last, is the
record that they are whole: from then on the move is only repeated, never undone, so a run that is
killed at any moment leaves the old result or the new one.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewardscope.errors import BadRecord
from rewardscope.storage.files import manifest_of, write_json
from rewardscope.storage.locks import ResultLock
from rewardscope.storage.manifests import is_inside, read_manifest_file

_BEGUN = ".begun.json"


class WorkPlace:
    """The folder in which a result of one key is made. Use it under the lock of the result."""

    def __init__(self, out: Path, key: str) -> None:
        base = out.resolve() if out.is_symlink() else out
        self._manifest = manifest_of(base)
        is_folder = self._manifest.parent == base
        self.root = base if is_folder else base.parent
        self.folder = base.with_name(f".{base.name}.{key[:16]}.work")
        self.path = self.folder if is_folder else self.folder / base.name
        """Stands for `out` while it is made."""
        self._out = base

    @property
    def manifest(self) -> Path:
        return self.folder / self._manifest.name

    def open(self, *, forced: bool, about: dict[str, Any]) -> None:
        """Make the folder, or go on in it.

        A forced run begins anew, unless what is there was begun by a forced run.
        """
        begun = self.folder / _BEGUN
        if forced and self.folder.is_dir() and not _read(begun).get("forced"):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for torn in self.folder.rglob(".*.tmp"):  # of a run that was killed: the lock is ours
            torn.unlink()
        for torn in self.root.glob(f".{_escaped(self._out.name)}.*.tmp"):
            if torn.name.split(".")[-2].isdigit() and not _is_alive(int(torn.name.split(".")[-2])):
                torn.unlink(missing_ok=True)
        if not begun.is_file():
            write_json(begun, {"forced": forced, "since": _now(), **about})

    def close(self) -> None:
        """Remove the folder where nothing was made in it."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        if self.folder.is_dir() and all(path.name == _BEGUN for path in files):
            shutil.rmtree(self.folder)

    def others(self) -> Iterator[str]:
        """Yield what says of each unfinished work on the same result, under another key, where it
        lies and when it was begun.
        """
        for folder in work_folders(self._out):
            if folder != self.folder:
                begun = _read(folder / _BEGUN)
                yield f"{folder} (begun {begun.get('since', 'at an unknown time')})"

    def move_in(self) -> None:
        """Put the whole result into its place; a move that was killed can be repeated."""
        new = read_manifest_file(self.manifest)
        assert new is not None, self.manifest
        (self.folder / _BEGUN).unlink(missing_ok=True)
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file()]
        for path in files:
            if path != self.manifest:
                target = self.root / path.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        old = read_manifest_file(self._manifest) if _is_readable(self._manifest) else None
        for name in old.outputs if old else ():
            if name not in new.outputs and is_inside(self.root, name):
                (self.root / name).unlink(missing_ok=True)
        sync_folder(self.root)
        os.replace(self.manifest, self._manifest)
        sync_folder(self.root)
        shutil.rmtree(self.folder)


def work_folders(out: Path) -> list[Path]:
    """Return the folders in which results for the place `out` are made."""
    base = out.resolve() if out.is_symlink() else out
    return sorted(base.parent.glob(f".{_escaped(base.name)}.*.work"))


def settle(out: Path) -> None:
    """Move a result in that is whole, where the run that made it was killed as it moved it."""
    name = manifest_of(out).name
    if not any((folder / name).is_file() for folder in work_folders(out)):
        return
    with ResultLock(out):
        for folder in work_folders(out):
            if (folder / name).is_file():
                WorkPlace(out, folder.name.split(".")[-2]).move_in()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _escaped(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _is_readable(path: Path) -> bool:
    try:
        return read_manifest_file(path) is not None
    except BadRecord:
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
