"""The Neuronpedia export of `dash`: the same cards and contexts, in the layout of that site."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardscope.paths import slug
from rewardscope.storage.files import replacing

if TYPE_CHECKING:
    from rewardscope.features.firing import DataSet
    from rewardscope.sae.model.inference import Sae

FOLDER = "neuronpedia"


class Export:
    """Writes a layer, a batch for each piece of its page."""

    def __init__(
        self, out: Path, sae: "Sae", data_sets: "list[DataSet]", *, run: str, layer: int
    ) -> None:
        from rewardscope.dashboard.neuronpedia import Batches, Origin, head_lines

        models = dict.fromkeys(data.store.info.prm for data in data_sets)
        origin = Origin(
            model="+".join(slug(model) for model in models if model) or "unnamed",
            run=run,
            layer=layer,
            data_sets=tuple(data.name for data in data_sets),
            n_traces=sum(len(data.store.sequences) for data in data_sets),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._folder = out / FOLDER / origin.model_id / origin.source
        self._heads = head_lines(origin, width=sae.width)
        self._batches = Batches(origin, sae)

    def heads(self) -> Iterator[Path]:
        """Write the files that say what the export is of."""
        for name, content in self._heads.items():
            yield _write(self._folder / name, content)

    def add(self, number: int, piece: dict[str, Any]) -> Iterator[Path]:
        """Write a piece of the page as a batch of features and one of their contexts."""
        contents = self._batches.lines(piece)
        for kind, content in zip(("features", "activations"), contents, strict=True):
            yield _write(self._folder / kind / f"batch-{number}.jsonl.gz", content)


def _write(path: Path, content: bytes) -> Path:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
