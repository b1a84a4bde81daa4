"""The model card of an SAE run: what it is, how to load it and how good each layer is, from the
run's own files. Nothing heavy.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardscope.records import Estimate, LayerQuality
from rewardscope.sae.formats import CONFIG
from rewardscope.sae.formats.configs import OwnConfig, read_config
from rewardscope.sae.model.runs import QUALITY
from rewardscope.sae.train.freeze import shown
from rewardscope.storage.files import write_text
from rewardscope.storage.tables import read_json_as

CARD = "README.md"
_COLUMNS = {"fvu": "FVU", "l0": "L0", "dead_share": "dead"}

_HOOK = "residual stream after decoder block l, from 0, before the final norm"


def write_card(run: Path, layers: Mapping[int, Path], *, name: str) -> Path:
    """Write `README.md` into a run's folder from the cfg.json and quality.json of its layers;
    return the path.
    """
    configs = {
        layer: read_config(folder / CONFIG, OwnConfig) for layer, folder in sorted(layers.items())
    }
    qualities = {
        layer: read_json_as(layers[layer] / QUALITY, LayerQuality)
        for layer in configs
        if (layers[layer] / QUALITY).is_file()
    }
    first = next(iter(configs.values()))
    info = first.metadata
    lines = [
        "---",
        "tags:",
        "- sparse-autoencoder",
        "- process-reward-model",
        "---",
        f"# {name}",
        "",
        (
            "Sparse autoencoders on the hidden states of"
            f" {info.get('prm') or 'a process reward model'}, one a layer."
        ),
        f"Layer l is the {info.get('hook') or _HOOK}.",
        "",
        *_facts(configs, info),
        "",
        *_table(configs, qualities),
        "",
        *_usage(first, next(iter(configs))),
    ]
    write_text(run / CARD, "\n".join(lines) + "\n")
    return run / CARD


def _facts(configs: Mapping[int, OwnConfig], info: Mapping[str, Any]) -> list[str]:
    first = next(iter(configs.values()))
    fires = f"{first.k} features fire at most" if first.k else "a feature fires above its threshold"
    facts = [
        f"- activation: {first.activation}; {fires}",
        f"- width {first.d_in}, {first.d_sae} features, float32",
    ]
    if info.get("freeze"):
        facts.append(f"- a baseline (arXiv 2602.14111), not a trained SAE: {shown(info)}")
    if info.get("trained_on"):
        facts.append(f"- trained on: {', '.join(info['trained_on'])}")
    if info.get("imported_from"):
        facts.append(f"- imported from: {info['imported_from']}")
    return facts


def _table(configs: Mapping[int, OwnConfig], qualities: Mapping[int, LayerQuality]) -> list[str]:
    """Return the quality of each layer on held-out problems as a Markdown table; nothing where it
    was not measured.
    """
    if not qualities:
        return []
    rows = ["Measured on held-out problems (95 % interval over problems):", ""]
    rows += [
        f"| layer | features | {' | '.join(_COLUMNS.values())} | rows | problems |",
        "|---" * (len(_COLUMNS) + 4) + "|",
    ]
    for layer, quality in qualities.items():
        cells = [_bounded(getattr(quality, name)) for name in _COLUMNS]
        rows.append(
            f"| {layer} | {configs[layer].d_sae} | {' | '.join(cells)} | {quality.n_rows} |"
            f" {quality.n_problems} |"
        )
    return rows


def _usage(config: OwnConfig, layer: int) -> list[str]:
    kept = "the k largest" if config.k else "those above `threshold`"
    return [
        "## Use",
        "",
        (
            f"`layer_{layer:02d}/sae.safetensors` holds `W_enc` [d, n], `b_enc`, `W_dec` [n, d] and"
            " `b_dec`, for raw activations x:"
        ),
        "",
        "    pre = (x - b_dec) @ W_enc + b_enc",
        f"    codes = {kept} of pre, 0 where below 0; the others 0",
        "    reconstruction = codes @ W_dec + b_dec",
        "",
        (
            "`invoke export-sae --sae RUN --format saelens|sparsify|dictionary-learning --out DIR`"
            " writes what other libraries read."
        ),
    ]


def _bounded(estimate: Estimate | None) -> str:
    """Return a value with its interval, where there is one."""
    if estimate is None:
        return "-"
    value, low, high = estimate.value, estimate.low, estimate.high
    return f"{value:.4g}" if low is None else f"{value:.4g} ({low:.4g} to {high:.4g})"
