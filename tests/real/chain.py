"""The chain on real traces: import, metrics, states, SAEs, what fires on reasoning, whether its
tokens alone do that, a page, and the table of all that.

    python -m tests.real.chain DATA --problems 32 --characters 1000

Reads the traces of three reasoning and two instruct models on the same problems. Writes study.csv
below DATA; what is there already is not computed again.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rewardscope.paths import TINY
from rewardscope.sae.train.freeze import FreezeName
from rewardscope.settings import Settings
from rewardscope.stages import (
    dash,
    feature_diff,
    feature_label,
    import_traces,
    inject,
    metrics,
    reward_patterns,
    save_acts,
    train_sae,
)
from rewardscope.storage.tables import read_json
from tests.real.smollm2 import NAME, weights
from tests.real.study import (
    Tables,
    pooled_rows,
    show_study,
    study_rows,
    to_inject,
    verdict_rows,
    write,
)
from tests.real.traces import STYLES, prepare

INJECTED = ("QwQ-32B", "Qwen2.5-32B-Instruct")
"""Whose texts give the level to reach, and take what is put in."""
Timed = Callable[[str, Callable[[], Any]], Any]


class Trained(NamedTuple):
    """An SAE that is trained, and the end of its run's name."""

    name: str
    suffix: str
    seed: int
    freeze: FreezeName


OWN = Trained("seed 0", "", 0, "none")
TWIN = Trained("seed 1", "-seed1", 1, "none")
FROZEN = Trained("frozen decoder", "-decoder", 0, "decoder")
SAES = (OWN, TWIN, FROZEN)


class Reader(NamedTuple):
    """Whose states are read, and at which layer: a middle one. For injection: at most how many
    features, as each is run eight times on every text; into how many texts, and of how many
    characters where that is not as many as the rest.
    """

    name: str
    mode: str
    model: str
    layer: int
    features: int
    texts: int
    short: int | None = None


def run(
    data: Path, *, problems: int, characters: int, features: int = 60, cache: Path | None = None
) -> dict[str, Any]:
    """Run the chain; return its numbers and the seconds of each stage. `features`: at most so many
    of each model are injected.
    """
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
        Reader("tiny-prm", "rm", str(TINY / "tiny-prm"), 3, features, problems),
        Reader(NAME, "lm", str(smollm), 15, min(features, 10), min(problems, 20), short=250),
    )
    rows = []
    for reader in readers:
        found[reader.name] = _of_reader(reader, sources, settings, timed)
        for one in SAES:
            tables = _tables(found[reader.name][one.name])
            rows += study_rows(reader.name, one.name, tables, pairs=(0, 1, 3))
        tables = _tables(found[reader.name][OWN.name])
        rows += pooled_rows(reader.name, tables)
        if found[reader.name]["inject"]:
            rows += verdict_rows(reader.name, tables, Path(found[reader.name]["inject"]))
    write(data / "study.csv", rows)
    found["study"] = show_study(rows)
    return found


def _tables(report: dict[str, Any]) -> Tables:
    return Tables(Path(report["diff"]), Path(report["labels"]))


def _of_reader(
    reader: Reader, sources: dict[str, list[Path]], settings: Settings, timed: Timed
) -> dict[str, Any]:
    acts = {
        style: timed(
            f"save-acts {reader.name} {style}", lambda p=paths: _save_acts(reader, p, settings)
        )
        for style, paths in sources.items()
    }
    every = (*acts["reasoning"], *acts["instruct"])
    saes: dict[Trained, str] = {}
    for one in SAES:
        run_name = f"sae-{reader.name}{one.suffix}"
        trained = train_sae.Config(
            ds_names=every,
            run=run_name,
            expansion=4,
            k="16",
            epochs=3,
            freeze=one.freeze,
            seed=one.seed,
        )
        saes[one] = str(
            timed(f"train-sae {run_name}", lambda c=trained: train_sae.run(c, settings))
        )
    beside: dict[Trained, dict[str, Any]] = {
        OWN: {"twin": (saes[TWIN],), "baseline": saes[FROZEN]},
        TWIN: {"twin": (saes[OWN],)},
        FROZEN: {},
    }
    report: dict[str, Any] = {}
    for one, sae in saes.items():
        name = Path(sae).name
        diff = feature_diff.Config(
            reasoning=acts["reasoning"], instruct=acts["instruct"], sae=sae, **beside[one]
        )
        table = timed(f"feature-diff {name}", lambda c=diff: feature_diff.run(c, settings))
        label = feature_label.Config(ds_names=every, sae=sae)
        labels = timed(f"feature-label {name}", lambda c=label: feature_label.run(c, settings))
        quality = read_json(Path(sae) / f"layer_{reader.layer:02d}" / "quality.json")
        report[one.name] = {"quality": quality, "diff": str(table), "labels": str(labels)}
    report["inject"] = _inject(reader, acts, saes[OWN], report[OWN.name], settings, timed)
    page = dash.Config(ds_names=every, sae=saes[OWN], top=50)
    report["dash"] = str(timed(f"dash {reader.name}", lambda: dash.run(page, settings)))
    if reader.mode == "rm":
        patterns = reward_patterns.Config(ds_names=every)
        timed("reward-patterns", lambda: reward_patterns.run(patterns, settings))
    return report


def _save_acts(reader: Reader, paths: Sequence[Path], settings: Settings) -> tuple[str, ...]:
    """Return the folder of each file."""
    model = {"prm" if reader.mode == "rm" else "model_name": reader.model}
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
    return tuple(str(save_acts.run(config, settings)) for config in configs)


def _inject(
    reader: Reader,
    acts: dict[str, tuple[str, ...]],
    sae: str,
    report: dict[str, Any],
    settings: Settings,
    timed: Timed,
) -> str | None:
    """Put the tokens of features that favour reasoning in one pair into the other side's text; of
    none where there are none.
    """
    reasoning, instruct = (
        next(folder for folder in acts[style] if Path(folder).name.endswith(f"-{model}_gsm8k"))
        for style, model in zip(STYLES, INJECTED, strict=True)
    )
    pair = Path(reasoning).name, Path(instruct).name
    features = to_inject(_tables(report), pair=pair, most=reader.features)
    if not features:
        return None
    if reader.short is not None:
        (instruct,) = timed(f"save-acts {reader.name} short", lambda: _short(reader, settings))
    config = inject.Config(
        reasoning=reasoning,
        instruct=instruct,
        sae=sae,
        prm=reader.model,
        layers=str(reader.layer),
        features=features,
        texts=reader.texts,
        name="study",
    )
    return str(timed(f"inject {reader.name}", lambda: inject.run(config, settings)))


def _short(reader: Reader, settings: Settings) -> tuple[str, ...]:
    """Return the states of short texts of the model that takes what is put in."""
    assert reader.short is not None
    out = settings.data_dir / "short"
    size = {"problems": reader.texts, "characters": reader.short}
    paths = prepare(out, models=INJECTED[1], name="short", **size)["instruct"]
    config = import_traces.Config(files=tuple(map(str, paths)), kind="plain")
    import_traces.run(config, settings)
    return _save_acts(reader, paths, settings)


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
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--characters", type=int, default=1000)
    parser.add_argument("--features", type=int, default=60, help="of each model, for inject")
    given = parser.parse_args()
    found = run(
        given.data, problems=given.problems, characters=given.characters, features=given.features
    )
    study = found.pop("study")
    print(json.dumps(found, indent=1))
    print(study)


if __name__ == "__main__":
    main()
