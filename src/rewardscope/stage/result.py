"""One run of a stage: skip what is done, refuse what would be lost, make the rest beside its place.

Like make, but by content: the same settings and the same inputs skip; changed inputs or a file that
is not whole compute again; other settings or another source for the same place stop with an error
that names `--force`. Whatever happens, the old result stays until the new one is whole.
"""

import errno
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rewardscope.errors import BadRecord, ConfigError, is_of_the_file_system
from rewardscope.log import get_logger
from rewardscope.records import InputDigest, Manifest
from rewardscope.stage.config import StageConfig
from rewardscope.stage.inputs import is_same_content, is_same_source, record_input, with_revision
from rewardscope.stage.provenance import git_commit, versions
from rewardscope.storage.files import FILE_ENDINGS, link_file, sha256, write_json
from rewardscope.storage.locks import ResultLock
from rewardscope.storage.manifests import SCHEMA, read_manifest, wrong_with
from rewardscope.storage.work import WorkPlace, settle

_KEY_VERSION = 1  # of what is hashed, so that results of older versions are recognised


class Stage:
    """One run of a stage.

    Use: `if stage.is_done(): return`, then `with stage: ...; stage.finish(...)`. Everything is
    written to `work`, which stands for `out` until the result is whole; a killed run goes on there.
    `key` identifies settings and inputs together.
    """

    def __init__(
        self, name: str, config: StageConfig, *, inputs: Mapping[str, Path | str], out: Path
    ) -> None:
        records = {label: record_input(source) for label, source in inputs.items()}
        self._set(name, config, records, out)

    def _set(
        self, name: str, config: StageConfig, inputs: dict[str, InputDigest], out: Path
    ) -> None:
        config.check_values()
        self.name, self.config, self.inputs, self.out = name, config, inputs, out
        self.settings = config.result_settings()
        digests = {label: record.digest for label, record in inputs.items()}
        self.key = hashlib.sha256(
            json.dumps([name, _KEY_VERSION, self.settings, digests], sort_keys=True).encode()
        ).hexdigest()
        if out.suffix in FILE_ENDINGS and out.is_dir():
            raise ConfigError(f"{out} is a folder, a file is to be written there; move it away")
        settle(out)
        self._place, self._lock = WorkPlace(out, self.key), ResultLock(out)
        self._started, self._finished = 0.0, False

    def like(self, out: Path, config: StageConfig | None = None) -> "Stage":
        """Return a stage of the same inputs that writes elsewhere."""
        other = object.__new__(Stage)
        other._set(self.name, config or self.config, self.inputs, out)
        return other

    @property
    def work(self) -> Path:
        """The path to write to in place of `out`."""
        return self._place.path

    def is_done(self) -> bool:
        """Say whether the result is there and whole; log one line if so.

        Raises: ConfigError on other settings or another source without --force, where another run
        makes the same result, or where something else is in the way; OSError where it cannot be
        written.
        """
        if not self.config.force:
            manifest = read_manifest(self.out)
            if manifest is None:
                self._refuse_a_foreign_file()
            elif self._is_still_good(manifest):
                get_logger().info(
                    f"{self.name}: {self.out} is done ({manifest.rows} rows), skipped"
                )
                self._tidy()
                return True
        self._lock.check_free()
        _check_writable(self.out)
        return False

    def _tidy(self) -> None:
        """Remove what a run left that was killed after its result was in its place."""
        if not (self._lock.is_there() or self._place.folder.is_dir()):
            return
        try:
            self._lock.acquire()
        except (ConfigError, OSError):  # it is in use, or nothing can be removed here
            return
        self._place.close()
        self._lock.release()

    def has_result(self) -> bool:
        """Say whether a result of the same settings and inputs was finished, whatever became of its
        files.
        """
        try:
            manifest = read_manifest(self.out)
        except BadRecord:
            return False
        return manifest is not None and not any(self._differences(manifest))

    def _differences(self, manifest: Manifest) -> Iterator[str]:
        """Yield what differs between this run and the one that wrote the manifest."""
        if manifest.stage != self.name:
            yield f"by {manifest.stage}"
        yield from self._changed_settings(manifest)
        yield from self._changed_inputs(manifest)

    def _changed_settings(self, manifest: Manifest) -> list[str]:
        """Return each setting that differs; one that came later counts with its default."""
        defaults = self.config.default_settings()
        old, new = {**defaults, **manifest.settings}, {**defaults, **self.settings}
        return [
            f"{name} {_short(old.get(name))} -> {_short(new.get(name))}"
            for name in {**manifest.settings, **self.settings}
            if not self.config.is_same_value(name, old.get(name), new.get(name))
        ]

    def _changed_inputs(self, manifest: Manifest) -> list[str]:
        none = InputDigest()
        return [
            label
            for label in {**manifest.inputs, **self.inputs}
            if not is_same_content(manifest.inputs.get(label, none), self.inputs.get(label, none))
        ]

    def _is_still_good(self, manifest: Manifest) -> bool:
        changed = self._changed_settings(manifest)
        if changed or manifest.stage != self.name:
            what = ", ".join(changed) or manifest.stage
            raise ConfigError(
                f"{self.out} was made with other settings ({what}); {self._ways_out()}"
            )
        inputs = self._changed_inputs(manifest)
        for label in inputs:
            old, new = manifest.inputs.get(label), self.inputs.get(label)
            if old and new and not is_same_source(old, new):
                raise ConfigError(
                    f"{self.out} was made from another {label}, {old.source}, not from"
                    f" {new.source}; {self._ways_out()}"
                )
        if inputs:
            get_logger().info(f"{self.name}: inputs of {self.out} changed, computing it again")
            return False
        wrong = next(wrong_with(self.out, manifest), None)
        if wrong:
            get_logger().info(f"{self.name}: {wrong}, computing it again")
        return wrong is None

    def _ways_out(self) -> str:
        flag = self.config.naming_flag
        return f"pass --force to replace it{f', or {flag} to keep both' if flag else ''}"

    def _refuse_a_foreign_file(self) -> None:
        if self.out.is_file():
            raise ConfigError(
                f"{self.out} is there, but no task has finished it; {self._ways_out()}"
            )

    def __enter__(self) -> "Stage":
        self._started = time.perf_counter()
        self._lock.acquire()
        try:
            about = {"settings": self.settings, "inputs": msgspec.to_builtins(self.inputs)}
            self._place.open(forced=self.config.force, about={"stage": self.name, **about})
            self._name_unfinished_work()
        except BaseException:
            self._lock.release()
            raise
        get_logger().info(f"{self.name}: making {self.out}")
        return self

    def _name_unfinished_work(self) -> None:
        """Say where work on the same result lies that this run does not go on with."""
        self._adopt_partial_rows()
        for other in self._place.others():
            get_logger().info(
                f"{self.name}: unfinished work with other settings or inputs is kept in {other};"
                " the same flags go on there, delete it to drop it"
            )

    def _adopt_partial_rows(self) -> None:
        """Take over what an older version kept beside a generations file under the same key."""
        kept = self.out.with_name(f".{self.out.name}.partial")
        if not kept.is_file():
            return
        with kept.open(encoding="utf-8") as lines:
            is_ours = lines.readline().strip() == self.key
        if is_ours:
            os.replace(kept, self._place.folder / kept.name)
        else:
            get_logger().info(
                f"{self.name}: unfinished work with other settings is kept in {kept}; delete it to"
                " drop it"
            )

    def reuse(self, path: Path) -> bool:
        """Take a file of `work` from an earlier result of the same settings and inputs, where that
        is whole; say whether the file is there. With --force none is taken.
        """
        if path.is_file() or self.config.force or not self.has_result():
            return path.is_file()
        manifest, name = read_manifest(self.out), str(path.relative_to(self._place.folder))
        old = self._place.root / name
        if manifest is None or not old.is_file() or sha256(old) != manifest.outputs.get(name):
            return False
        link_file(old, path)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> None:
        if isinstance(error, OSError) and error.filename is None and is_of_the_file_system(error):
            error.filename = str(self.work)  # a write that finds the disk full names no file
        self._place.close()
        self._lock.release()
        assert kind is not None or self._finished, f"stage {self.name} ended without finish()"

    def finish(
        self,
        outputs: Iterable[Path],
        *,
        rows: int,
        skipped: Mapping[str, int] | None = None,
        extra: Mapping[str, Any] | None = None,
        digests: Mapping[Path, str] | None = None,
    ) -> None:
        """Write the manifest, then move what was made in `work` to `out`, in the place of the old.

        `skipped` counts rows left out, by reason; `extra` is what readers of the output need;
        `digests` are those of outputs that were taken as they were written; the others are read.
        """
        known = digests or {}
        names = {path: str(path.relative_to(self._place.folder)) for path in outputs}
        seconds = round(time.perf_counter() - self._started, 3)
        manifest = Manifest(
            stage=self.name,
            schema=SCHEMA,
            key=self.key,
            settings=self.settings,
            inputs={label: with_revision(record) for label, record in self.inputs.items()},
            outputs={name: known.get(path) or _synced_sha256(path) for path, name in names.items()},
            sizes={name: path.stat().st_size for path, name in names.items()},
            rows=rows,
            skipped=dict(skipped or {}),
            extra=dict(extra or {}),
            versions=versions(),
            git=git_commit(),
            platform=platform.platform(),
            seconds=seconds,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        write_json(self._place.manifest, msgspec.to_builtins(manifest))
        self._place.move_in()
        self._finished = True
        left_out = "".join(
            f", {count} skipped: {reason}" for reason, count in (skipped or {}).items()
        )
        get_logger().info(f"{self.name}: {self.out} done, {rows} rows in {seconds:.1f} s{left_out}")


def _short(value: Any) -> str:
    """Return a setting in one line; a long text is cut, which is said."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:60]}... ({len(shown)} characters)"


def _synced_sha256(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return sha256(path)


def _check_writable(out: Path) -> None:
    """Raises: OSError where the folder of a result, or the nearest above it, cannot be written."""
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
