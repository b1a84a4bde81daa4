"""The chain on real traces: import, metrics, states, an SAE, what fires on reasoning, a page.

    python -m tests.real.chain DATA --problems 40 --characters 1200

Reads the traces of three reasoning and two instruct models on the same problems.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rewardscope.paths import TINY
from rewardscope.settings import Settings
from rewardscope.stages import (
    dash,
    feature_diff,
    feature_label,
    import_traces,
    metrics,
    reward_patterns,
    save_acts,
    train_sae,
)
from rewardscope.storage.tables import read_json
from tests.real.smollm2 import NAME, weights

TRACES = Path(__file__).parents[2] / "../shared/data/traces"
PREFIX = "gsm8k_"
STYLES = ("reasoning", "instruct")
FREEZES: tuple[Literal["none", "decoder"], ...] = (
    "none",
    "decoder",
)  # an SAE, and random directions beside it


class Reader(NamedTuple):
    """Whose states are read, and at which layer: a middle one."""

    name: str
    mode: str
    model: str
    layer: int


def prepare(folder: Path, *, problems: int, characters: int) -> dict[str, list[Path]]:
    """Write the first problems of each model's traces, each cut after whole steps within so many
    characters; return the files by style. The ends of the cut ones count as `length`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Path]] = {style: [] for style in STYLES}
    for source in sorted(TRACES.glob(f"{PREFIX}*.jsonl")):
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        out = folder / f"{source.stem.removeprefix(PREFIX)}_gsm8k.jsonl"
        kept = [_cut(row, characters) for row in rows[:problems]]
        out.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        found[rows[0]["style"]].append(out)
    return found


def _cut(row: dict[str, Any], characters: int) -> dict[str, Any]:
    text = row["solution"]
    if len(text) <= characters:
        return row
    whole = text.rfind("\n\n", 1, characters)
    kept = text[: whole if whole > 0 else characters]
    return row | {"solution": kept, "finish": "length"}


def run(data: Path, *, problems: int, characters: int, cache: Path | None = None) -> dict[str, Any]:
    """Run the chain; return its numbers and the seconds of each stage."""
    settings = Settings(data_dir=data, sae_checkpoint_dir=data / "checkpoints")
    sources = prepare(data / "cut", problems=problems, characters=characters)
    found: dict[str, Any] = {"problems": problems, "characters": characters, "seconds": {}}

    def timed(name: str, task: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = task()
        found["seconds"][name] = round(time.perf_counter() - started, 1)
        return result

    files = [str(path) for style in STYLES for path in sources[style]]
    config = import_traces.Config(files=tuple(files), kind="plain")
    timed("import-traces", lambda: import_traces.run(config, settings))
    smollm = timed("weights", lambda: weights(cache))
    readers = (
        Reader("tiny-prm", "rm", str(TINY / "tiny-prm"), 3),
        Reader(NAME, "lm", str(smollm), 15),
    )
    for reader in readers:
        found[reader.name] = _of_reader(reader, sources, settings, timed)
    return found


def _of_reader(
    reader: Reader,
    sources: dict[str, list[Path]],
    settings: Settings,
    timed: Callable[[str, Callable[[], Any]], Any],
) -> dict[str, Any]:
    model = {"prm" if reader.mode == "rm" else "model_name": reader.model}
    acts: dict[str, tuple[str, ...]] = {}
    for style, paths in sources.items():
        configs = [
            save_acts.Config(
                ds_name=path.stem,
                mode=reader.mode,  # type: ignore[arg-type]
                layers=str(reader.layer),
                positions="all-tokens",
                dtype="bfloat16",
                **model,  # type: ignore[arg-type]
            )
            for path in paths
        ]
        folders = timed(
            f"save-acts {reader.name} {style}",
            lambda configs=configs: [save_acts.run(config, settings) for config in configs],
        )
        acts[style] = tuple(str(folder) for folder in folders)
    every = (*acts["reasoning"], *acts["instruct"])
    report: dict[str, Any] = {}
    for freeze in FREEZES:
        run_name = f"sae-{reader.name}" + ("" if freeze == "none" else f"-{freeze}")
        trained = train_sae.Config(
            ds_names=every, run=run_name, expansion=4, k="16", epochs=3, freeze=freeze
        )
        sae = str(timed(f"train-sae {run_name}", lambda c=trained: train_sae.run(c, settings)))
        diff = feature_diff.Config(
            reasoning=acts["reasoning"], instruct=acts["instruct"], sae=sae, part=1, total=1
        )
        table = timed(f"feature-diff {run_name}", lambda c=diff: feature_diff.run(c, settings))
        label = feature_label.Config(ds_names=every, sae=sae)
        labels = timed(f"feature-label {run_name}", lambda c=label: feature_label.run(c, settings))
        quality = read_json(Path(sae) / f"layer_{reader.layer:02d}" / "quality.json")
        report[freeze] = {"quality": quality, "diff": str(table), "labels": str(labels)}
    learned = str(settings.sae_checkpoint_dir / f"sae-{reader.name}")
    page = dash.Config(ds_names=every, sae=learned, top=50)
    report["dash"] = str(timed(f"dash {reader.name}", lambda: dash.run(page, settings)))
    if reader.mode == "rm":
        patterns = reward_patterns.Config(ds_names=every)
        timed("reward-patterns", lambda: reward_patterns.run(patterns, settings))
    return report


def accuracies(data: Path, sources: Sequence[Path]) -> list[dict[str, Any]]:
    """Return each model's accuracy with the box alone and with what is stated."""
    settings, rows = Settings(data_dir=data), []
    config = import_traces.Config(files=tuple(map(str, sources)), kind="plain")
    for out in import_traces.run(config, settings):
        for rule in ("boxed", "stated"):
            measured = metrics.Config(dataset=out.stem, extract=rule, name=f"{out.stem}-{rule}")
            report = read_json(metrics.run(measured, settings))
            rows.append(
                {
                    "model": out.stem.removesuffix("_gsm8k"),
                    "rule": rule,
                    **report["metrics"]["accuracy"],
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--characters", type=int, default=1200)
    given = parser.parse_args()
    found = run(given.data, problems=given.problems, characters=given.characters)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
