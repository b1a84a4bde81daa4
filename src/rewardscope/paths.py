"""Every path the project knows. Nobody else joins strings to paths."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rewardscope.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]  # the checkout: the project is run from its clone
TINY = PROJECT / "checkpoints" / "tiny"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")


class HubName(NamedTuple):
    """What `org/name@revision` asks for; a data set's config is part of the id."""

    id: str
    revision: str | None


def hub_name(name: str | Path) -> HubName:
    """Part a hub id from the branch, tag or commit behind its `@`; a path has none."""
    before, at, revision = str(name).partition("@")
    if not at or not _HUB_ID.fullmatch(before) or not revision or Path(name).exists():
        return HubName(str(name), None)
    return HubName(before, revision)


def slug(name: str | Path) -> str:
    """Return the short name of a model or data set: the last part of a hub id or path, without a
    data file's ending or a revision. It never leaves the folder that it is put into.
    """
    last = hub_name(name).id.rstrip("/").split("/")[-1]
    if last in ("", ".", ".."):
        last = Path(name).resolve().name
    last = re.sub(r"\.(jsonl|json|parquet)$", "", last)
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", last).lstrip(".")
    if not short:
        raise ConfigError(f"{str(name)!r} has no last part that could name a result")
    return short


def check_name(flag: str, name: str | None) -> None:
    """Refuse a name that a result cannot have. Raises: ConfigError."""
    if name is not None and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise ConfigError(
            f"{flag} {name!r}: a name has letters, digits, '.', '_' and '-', and does not begin"
            " with '.'"
        )


def generations_file(data_dir: Path, policy: str, dataset: str, *, suffix: str = "") -> Path:
    """Return `<policy>_<dataset><suffix>.jsonl`; the suffix is that of a search method."""
    return data_dir / f"{slug(policy)}_{slug(dataset)}{suffix}.jsonl"


def generations_part_file(out: Path, part: int, total: int) -> Path:
    """Return where a part of a generations file is written."""
    return out.with_name(f"{out.stem}.part-{part:02}-of-{total:02}{out.suffix}")


def imported_file(data_dir: Path, source: str | Path, *, original: bool) -> Path:
    """Return `<source>.jsonl` in the data folder, or `<source>_original.jsonl` for the unmodified
    side of a benchmark.
    """
    return data_dir / f"{slug(source)}{'_original' if original else ''}.jsonl"


def metrics_file(generations: Path, name: str | None = None) -> Path:
    return generations.with_name(f"{name or generations.stem}.metrics.json")


def acts_dir(data_dir: Path, mode: str, generations: str | Path) -> Path:
    return data_dir / f"math-{mode}-{slug(generations)}"


def acts_part_dir(acts: Path, part: int, total: int) -> Path:
    return acts.with_name(f"{acts.name}.part-{part:02}-of-{total:02}")


def linreg_dir(acts: Path, target: str) -> Path:
    return acts / "linreg" / target


def linreg_results_file(folder: Path) -> Path:
    return folder / "results.csv"


def linreg_probe_file(folder: Path, layer: int) -> Path:
    return folder / f"layer_{layer:02d}.npz"


def linreg_predictions_file(acts: Path, probes: Path, name: str | None = None) -> Path:
    """Return where the predictions on `acts` of the probes of another folder go;

    `probes` ends in `<acts>/linreg/<target>`.
    """
    return acts / "predictions" / f"{name or f'{slug(probes.parents[1])}_{probes.name}'}.csv"


def probe_transfer_dir(
    data_dir: Path, acts: Sequence[Path], target: str, name: str | None = None
) -> Path:
    return data_dir / "probe-transfer" / (name or joined_name(acts)) / target


def reward_patterns_dir(data_dir: Path, sources: Sequence[Path], name: str | None = None) -> Path:
    return data_dir / "reward-patterns" / (name or joined_name(sources))


def joined_name(sources: Sequence[str | Path]) -> str:
    """Return one folder name for several results; a very long one is cut and ends in a hash of the
    whole.
    """
    name = "+".join(slug(source).removeprefix("math-rm-") for source in sources)
    return (
        name
        if len(name) <= 150
        else f"{name[:130]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    )


def sae_layer_dir(run: Path, layer: int) -> Path:
    return run / f"layer_{layer:02d}"


def exported_layer_dir(out: Path, layer: int, layout: str) -> Path:
    """Return where a layer goes in the layout of another library; sparsify names its folders by the
    module that they read.
    """
    return out / f"layers.{layer}" if layout == "sparsify" else sae_layer_dir(out, layer)


def sae_quality_dir(data_dir: Path, sae_run: Path, source: str | Path) -> Path:
    return data_dir / "sae-quality" / slug(sae_run) / slug(source)


def sae_quality_file(folder: Path) -> Path:
    return folder / "quality.json"


def sae_bench_dir(
    data_dir: Path, saes: Sequence[Path], acts: Sequence[Path], name: str | None = None
) -> Path:
    return data_dir / "sae-bench" / (name or f"{joined_name(saes)}_{joined_name(acts)}")


def perturb_dir(
    data_dir: Path, prm: str, sources: Sequence[str | Path], name: str | None = None
) -> Path:
    return data_dir / "perturb" / slug(prm) / (name or joined_name(sources))


def feature_ablate_dir(data_dir: Path, sae_run: Path, source: str | Path) -> Path:
    return data_dir / "feature-ablate" / slug(sae_run) / slug(source)


def diff_part_file(data_dir: Path, sae_run: str | Path, part: int, total: int) -> Path:
    return (
        data_dir / "features" / slug(sae_run) / "diff" / f"part_{part:02d}_of_{total:02d}.parquet"
    )


def feature_labels_dir(
    data_dir: Path, sae_run: str | Path, acts: Sequence[Path], name: str | None = None
) -> Path:
    return data_dir / "features" / slug(sae_run) / "labels" / (name or joined_name(acts))


def injection_dir(
    data_dir: Path, sae_run: str | Path, acts: Sequence[Path], name: str | None = None
) -> Path:
    return data_dir / "features" / slug(sae_run) / "inject" / (name or joined_name(acts))


def dash_dir(data_dir: Path, sae_run: str | Path) -> Path:
    return data_dir / "dash" / slug(sae_run)


def prm_bench_dir(data_dir: Path, prm: str) -> Path:
    return data_dir / "prm-bench" / slug(prm)


def prm_bench_scores_file(folder: Path, benchmark: Path) -> Path:
    return folder / f"{slug(benchmark)}.jsonl"


def prm_bench_report_file(folder: Path) -> Path:
    return folder / "report.json"


def figures_dir(data_dir: Path) -> Path:
    return data_dir / "figures"


def find_input(name: str | Path, base: Path, *, suffix: str = "") -> Path | None:
    """Return the first that exists of `name` and `name` with `suffix`, then both below `base`."""
    plain = Path(name)
    for candidate in (plain, Path(f"{plain}{suffix}"), base / plain, base / f"{plain}{suffix}"):
        if candidate.exists():
            return candidate
    return None
