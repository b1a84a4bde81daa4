"""The inputs of a stage: whether they are there and whole, and what identifies them."""

from collections.abc import Sequence
from pathlib import Path

from rewardscope.errors import ConfigError, MissingInput, nearest
from rewardscope.paths import PROJECT, find_input, hub_name
from rewardscope.records import InputDigest
from rewardscope.storage.files import digest, manifest_of, result_of, sha256
from rewardscope.storage.manifests import check_file, check_result
from rewardscope.storage.work import settle


def record_input(source: Path | str) -> InputDigest:
    """Return what identifies an input: its place, its content, and of a hub name the commit.

    Raises: BadRecord where it is a result that is not whole.
    """
    path = Path(source)
    settle(result_of(path))
    if path.is_file():
        check_file(path, digest=sha256(path))
    elif path.is_dir():
        check_result(path)
    return InputDigest(
        source=str(source).removeprefix(f"{PROJECT}/"),
        digest=digest(source),
        revision=None if path.exists() else cached_revision(str(source)),
    )


def cached_revision(name: str) -> str | None:
    """Return the commit of a hub model or data set that this machine used last, where it is known.

    Asks the cache of huggingface_hub alone, never the network.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    hub_id, wanted = hub_name(name)
    folder = hub_id.partition(":")[0].replace("/", "--")
    for kind in ("models", "datasets"):
        home = Path(HF_HUB_CACHE) / f"{kind}--{folder}"
        reference = home / "refs" / (wanted or "main")
        if reference.is_file():
            return reference.read_text(encoding="utf-8").strip() or None
        if wanted and (home / "snapshots" / wanted).is_dir():  # it is a commit itself
            return wanted
    return None


def is_same_source(old: InputDigest, new: InputDigest) -> bool:
    """Say whether two inputs come from one place, however it was written."""
    if old.source == new.source:
        return True
    place = _absolute(new.source)
    return any((base / old.source).resolve() == place for base in (PROJECT, Path.cwd()))


def _absolute(source: str) -> Path:
    inside = PROJECT / source
    return inside.resolve() if inside.exists() else Path(source).resolve()


def is_same_content(old: InputDigest, new: InputDigest) -> bool:
    """Say whether two inputs hold the same, as far as is known of a hub name's commit."""
    revisions = {old.revision, new.revision} - {None}
    return old.digest == new.digest and len(revisions) < 2


def with_revision(record: InputDigest) -> InputDigest:
    """Return an input with the commit that is known now: a model may have been loaded since."""
    if record.revision or not record.digest.startswith("name:"):
        return record
    return InputDigest(
        source=record.source,
        digest=record.digest,
        revision=cached_revision(record.digest.removeprefix("name:")),
    )


def require(path: Path | None, name: str | Path, made_by: str) -> Path:
    """Return `path`.

    Raises: MissingInput that says which task makes it, where it is None or not there.
    """
    if path is None or not path.exists():
        raise MissingInput(f"{name} is not there; make it with invoke {made_by}")
    return path


def find_required(name: str | Path, base: Path, made_by: str, *, suffix: str = "") -> Path:
    """Return an input by its path, or by its name below `base`; `suffix` may be left out of it.

    Raises: MissingInput that says where it was looked for, what is near, and which task makes it.
    """
    path = find_input(name, base, suffix=suffix)
    if path is not None:
        return path
    plain = Path(name)
    results = [
        each.name.removesuffix(suffix)
        for place in dict.fromkeys(((base / plain).parent, plain.parent))
        if place.is_dir()
        for each in sorted(place.iterdir())
        if (each.suffix == suffix if suffix else manifest_of(each).is_file())
    ]
    near = nearest(plain.name.removesuffix(suffix), results)
    looked = "" if plain.is_absolute() else f"; it was looked for here and below {base}"
    hint = f"; did you mean {plain.with_name(near)}?" if near else ""
    raise MissingInput(f"{name} is not there; make it with invoke {made_by}{looked}{hint}")


def given_files(names: Sequence[str]) -> list[Path]:
    """Return the paths of --files. Raises: MissingInput for one that is not there."""
    for name in names:
        if not Path(name).is_file():
            raise MissingInput(f"--files {name}: no such file")
    return [Path(name) for name in names]


def distinct(flag: str, names: Sequence[str], outs: Sequence[Path]) -> None:
    """Refuse two names, values of a flag, that would be written to one file.

    Raises: ConfigError.
    """
    if len(set(outs)) < len(outs):
        raise ConfigError(
            f"{flag} {','.join(names)}: two of them have the same short name, so the same output"
            " file"
        )
