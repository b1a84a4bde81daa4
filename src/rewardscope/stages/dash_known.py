"""Which results of other stages `dash` shows in the cards: those of the same SAE."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from rewardscope.log import get_logger
from rewardscope.paths import feature_ablate_dir, feature_labels_dir, injection_dir, slug
from rewardscope.settings import Settings
from rewardscope.storage.files import digest
from rewardscope.storage.manifests import read_finished, read_manifest
from rewardscope.storage.tables import read_csv_as

if TYPE_CHECKING:
    from rewardscope.dashboard.known import Tables

T = TypeVar("T", bound=msgspec.Struct)


class Results(NamedTuple):
    """Folders of finished results of one SAE."""

    labels: tuple[Path, ...]
    injections: tuple[Path, ...]
    ablations: tuple[Path, ...]

    def inputs(self) -> dict[str, Path]:
        """Return the folders as inputs of a stage: pages are made again when one changes."""
        return {
            f"{kind} {number}": folder
            for kind, folders in self._asdict().items()
            for number, folder in enumerate(folders)
        }


def find_results(settings: Settings, sae: Path) -> Results:
    """Return what feature-label, inject and feature-ablate found out about this SAE."""
    data, any_name = settings.data_dir, "any"
    return Results(
        labels=_finished("feature-label", feature_labels_dir(data, sae, (), any_name).parent, sae),
        injections=_finished("inject", injection_dir(data, sae, (), any_name).parent, sae),
        ablations=_finished("feature-ablate", feature_ablate_dir(data, sae, any_name).parent, sae),
    )


def _finished(stage: str, folder: Path, sae: Path) -> tuple[Path, ...]:
    return tuple(_of_this_sae(stage, sorted(folder.glob("*/")), digest(sae)))


def _of_this_sae(stage: str, folders: Sequence[Path], sae: str) -> Iterator[Path]:
    for folder in folders:
        manifest = read_manifest(folder)
        if manifest is None or manifest.stage != stage:
            continue
        of = manifest.inputs.get("sae")
        if of is not None and of.digest == sae:
            yield folder
        else:
            get_logger().info(
                f"dash: {folder} is left out: the SAE was another one then; run invoke {stage}"
                " again"
            )


def read_results(results: Results, diff_parts: Sequence[Path]) -> "Tables":
    """Read the tables. Raises: BadRecord."""
    from rewardscope.dashboard.known import Tables
    from rewardscope.features.ablation_table import AblationRow
    from rewardscope.features.injection_table import VerdictRow
    from rewardscope.features.labels_table import FeatureCategory

    return Tables(
        twins=_twins(diff_parts),
        labels=_rows(results.labels, "categories.csv", FeatureCategory),
        verdicts=_rows(results.injections, "verdicts.csv", VerdictRow),
        ablations=_rows(results.ablations, "results.csv", AblationRow),
    )


def _rows(folders: Sequence[Path], name: str, kind: type[T]) -> dict[str, list[T]]:
    return {folder.name: read_csv_as(folder / name, kind) for folder in folders}


def _twins(diff_parts: Sequence[Path]) -> tuple[str, ...]:
    """Return the runs that feature-diff looked for matches in, by its manifest."""
    found = {
        label: slug(entry.source)
        for part in diff_parts[:1]
        for label, entry in read_finished(part).inputs.items()
        if label.startswith("twin ")
    }
    return tuple(found[label] for label in sorted(found))
