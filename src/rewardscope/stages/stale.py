"""Which results are older than what they were made from: no figure mixes them with others."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from rewardscope.errors import MissingInput
from rewardscope.log import get_logger
from rewardscope.settings import Settings
from rewardscope.storage.files import digest, result_of
from rewardscope.storage.manifests import read_finished, read_manifest


def fresh_of(figure: str, sources: Iterable[Path], settings: Settings) -> list[Path]:
    """Return the sources that are not stale; name each other one with what it was made from.

    Raises: MissingInput where all are stale.
    """
    places = tuple(place.resolve() for place in (settings.data_dir, settings.sae_checkpoint_dir))
    older = lru_cache(maxsize=None)(lambda result: changed_input(result, places, older))
    fresh, named = [], []
    for source in sources:
        changed = older(result_of(source))
        if changed is None:
            fresh.append(source)
        else:
            stage = read_finished(result_of(source)).stage
            named.append(f"{source} is stale: {changed} changed since; run invoke {stage} again")
    if not fresh:
        raise MissingInput("; ".join(named))
    for line in named:
        get_logger().warning(f"figures: left out of {figure}: {line}")
    return fresh


def changed_input(result: Path, places: Sequence[Path], older) -> Path | None:
    """Return the first input of a result that is another one today than when it was made.

    Only inputs below `places` are looked at: the others are models and data sets. One that is gone
    changes nothing, and one that is stale itself makes the result stale.
    """
    manifest = read_manifest(result)
    if manifest is None:
        return None
    for entry in manifest.inputs.values():
        source = Path(entry.source)
        below = any(source.resolve().is_relative_to(place) for place in places)
        if below and source.exists() and (digest(source) != entry.digest or older(source)):
            return source
    return None
