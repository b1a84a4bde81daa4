"""The part of `feature-label` that asks a language model: labels in words, and their scores.

What was answered of a feature is kept, so that a killed run asks about the others alone.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rewardscope.features.labels_table import FeatureCategory
from rewardscope.log import progress
from rewardscope.paths import slug
from rewardscope.sae.model.runs import SaeRun
from rewardscope.settings import Settings
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import columns_of, read_json_as, show_table, shown, write_csv

if TYPE_CHECKING:
    from rewardscope.features.labeller import FreeText
    from rewardscope.stages.feature_label import Config

Ask = Callable[[str], str]
KEY_VARIABLE = "LABELLER_API_KEY"
_TIMEOUT, _MAX_TOKENS = 120.0, 2048
_ANSWERS = "answers"
_SHOWN = 20


def asking(url: str | None, model: str | None, settings: Settings) -> Ask | None:
    """Return what asks the model behind a URL, None without one.

    Raises: ConfigError where it is no URL of a server.
    """
    if url is None:
        return None
    from rewardscope.engines.client import Client, check_url

    client = Client(
        base_url=check_url(url, flag="--labeller", key_variable=KEY_VARIABLE),
        timeout=_TIMEOUT,
        api_key=settings.labeller_api_key,
        key_variable=KEY_VARIABLE,
        flags="--labeller and --labeller-model",
    )

    def ask(prompt: str) -> str:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.0,
            "max_tokens": _MAX_TOKENS,
        }
        return client.post(
            "/chat/completions", body, lambda got: str(got["choices"][0]["message"]["content"])
        )

    return ask


def features_to_label(
    rows: Sequence[FeatureCategory], reasoning: Mapping[int, set[int]], *, top: int
) -> dict[int, list[int]]:
    """Return for each layer the `top` features that fire most often, of those that favour reasoning
    where any do.
    """
    chosen: dict[int, list[int]] = {}
    for layer in dict.fromkeys(row.layer for row in rows):
        mine = [row for row in rows if row.layer == layer and row.scope == "all"]
        known = [row for row in mine if row.feature in reasoning.get(layer, ())]
        ranked = sorted(known or mine, key=lambda row: -row.firings)
        chosen[layer] = [row.feature for row in ranked[:top]]
    return chosen


def label_in_words(
    ask: Ask,
    chosen: Mapping[int, Sequence[int]],
    run: SaeRun,
    folders: Sequence[Path],
    work: Path,
    config: "Config",
) -> "list[FreeText]":
    """Label the features of each layer and score the labels."""
    from rewardscope.features.firing import open_data_set
    from rewardscope.features.labeller import FreeText, describe, score
    from rewardscope.features.labeller_contexts import read_contexts
    from rewardscope.models.device import pick_device
    from rewardscope.sae.model.checkpoint import load_sae
    from rewardscope.storage.acts import ActStore

    device, found = pick_device(config.device), []
    data_sets = [open_data_set(slug(folder), ActStore(folder)) for folder in folders]
    for layer, features in chosen.items():
        sae = load_sae(run.layers[layer], device=device)
        contexts = read_contexts(sae, features, data_sets, work, device=device, seed=config.seed)
        pairs = list(zip(features, contexts, strict=True))
        for feature, mine in progress(pairs, f"labels of layer {layer}", unit="feature"):
            kept = work / _ANSWERS / f"layer_{layer:02d}_{feature}.json"
            if kept.is_file():
                found.append(read_json_as(kept, FreeText))
                continue
            label = describe(mine, ask)
            found.append(score(layer, feature, label, mine, ask, seed=config.seed))
            kept.parent.mkdir(exist_ok=True)
            write_json(kept, msgspec.to_builtins(found[-1]))
    return found


def write_words(work: Path, words: "Sequence[FreeText]") -> Path:
    """Write the table, and remove what was kept for a killed run."""
    from rewardscope.features.labeller import FreeText

    write_csv(work / "labels.csv", words, fields=columns_of(FreeText))
    shutil.rmtree(work / _ANSWERS, ignore_errors=True)
    return work / "labels.csv"


def show_words(words: "Sequence[FreeText]") -> str:
    """Lay out the labels that tell contexts apart best."""
    header = ("layer", "feature", "detection", "95 % interval", "intruder", "label")
    ranked = sorted(words, key=lambda row: -(row.detection or 0.0))[:_SHOWN]
    table = [
        (
            row.layer,
            row.feature,
            shown(row.detection),
            f"{shown(row.detection_low)} {shown(row.detection_high)}",
            shown(row.intruder),
            row.label[:80],
        )
        for row in ranked
    ]
    unread = sum(row.unread for row in words)
    return f"{show_table(header, table)}\nanswers that could not be read: {unread}"
