"""`verify`: read every file of finished results and compare it with what was written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.log import show
from rewardscope.settings import Settings
from rewardscope.stage import StageConfig, option
from rewardscope.storage.files import manifest_of
from rewardscope.storage.manifests import read_manifest_file, wrong_with
from rewardscope.storage.tables import show_table


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Compare all files of finished results with their manifests: sizes, and digests of what they
    hold.

    Nothing is written.
    """

    files: tuple[str, ...] = option(
        (), help="results or folders of them; otherwise the data and the checkpoints folder"
    )


def run(config: Config, settings: Settings) -> None:
    """Print a line for each result. Raises: MissingInput; BadRecord where one is damaged."""
    named = [Path(name) for name in config.files]
    homes = named or [settings.data_dir, settings.sae_checkpoint_dir]
    for path in named:
        if not path.exists():
            raise MissingInput(f"{path} is not there")
    manifests = list(dict.fromkeys(found for home in homes for found in _manifests(home)))
    if not manifests:
        raise MissingInput(f"no finished result in {', '.join(map(str, homes))}")
    rows, wrongs = [], []
    for path in manifests:
        stage, n_files, found = _check(path)
        rows.append((stage, n_files, "; ".join(found) or "whole", _result_of(path)))
        wrongs += found
    show(show_table(("stage", "files", "state", "result"), rows))
    if wrongs:
        raise BadRecord(
            f"{len(wrongs)} of {len(manifests)} results' files are not what was written; the first:"
            f" {wrongs[0]}; run its task again with --force"
        )


def _manifests(home: Path) -> Iterator[Path]:
    """Yield the manifest of a result, or those below a folder; unfinished work is left out."""
    if home.is_file():
        path = home if home.name.endswith("manifest.json") else manifest_of(home)
        yield from [path] if path.is_file() else []
        return
    for path in sorted(home.rglob("*manifest.json")):
        is_one = path.name == "manifest.json" or path.name.endswith(".manifest.json")
        is_work = any(
            part.startswith(".") and part.endswith(".work") for part in path.relative_to(home).parts
        )
        if is_one and not is_work:
            yield path


def _result_of(manifest: Path) -> Path:
    """Return the result that a manifest belongs to."""
    if manifest.name == "manifest.json":
        return manifest.parent
    return manifest.with_name(manifest.name.removesuffix(".manifest.json"))


def _check(path: Path) -> tuple[str, int, list[str]]:
    """Return the stage of a manifest, the count of its files, and what is wrong with them."""
    try:
        manifest = read_manifest_file(path)
    except BadRecord as error:
        return "?", 0, [str(error)]
    assert manifest is not None, "it was there a moment ago"
    wrong = list(wrong_with(_result_of(path), manifest, read=True))
    return manifest.stage, len(manifest.outputs), wrong
