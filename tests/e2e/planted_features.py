"""Two data sets with planted features, and an SAE that finds them, for feature-diff and dash."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rewardscope.features.diff_table import FeatureDiff
from rewardscope.sae.model.checkpoint import Sae, save_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages import dash, feature_diff
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts

WIDTH, LAYERS = 8, (0, 5)
NEWLINE, BOTH, HOSTILE_FEATURE, STEP_END = 2, 3, 4, 5  # features by what they were planted on
HOSTILE = ["<script>alert(1)</script>", "</script>", "<!--", "\u2028", "{{data}}"]
DIFF: dict[str, Any] = {
    "reasoning": ("math-rm-reasoner",),
    "instruct": ("math-rm-plain",),
    "sae": "planted",
    "device": "cpu",
}
DASH: dict[str, Any] = {
    "ds_names": ("math-rm-plain", "math-rm-reasoner"),
    "sae": "planted",
    "device": "cpu",
}


def make_acts(*, reasoning: bool, seed: int, step_ends: bool = False) -> Acts:
    """Return states whose coordinates are features: 0 always, NEWLINE on line breaks, which only
    reasoning traces have, and STEP_END where it is asked for.
    """
    rng = np.random.default_rng(seed)
    problems, tokens = [], []
    for problem in range(12):
        for _ in range(2):
            problems.append(f"p/{problem}")
            pieces = ["Wait", ".", " 7", *HOSTILE, *(["\n\n"] * 3 if reasoning else [])]
            tokens.append(
                [
                    text
                    for _ in range(3)
                    for text in (*rng.choice(pieces, size=14).tolist(), STEP_TAG)
                ]
            )
    rows, sequences = make_rows(
        tokens, problems=problems, correct=[bool(b) for b in rng.random(len(tokens)) < 0.5]
    )
    texts = [text for trace in tokens for text in trace]
    states = np.zeros((len(rows), WIDTH), dtype=np.float32)
    states[:, 0] = 0.5
    states[[text == "\n\n" for text in texts], NEWLINE] = 3.0
    states[rng.random(len(rows)) < 0.2, BOTH] = 2.0
    states[[text in HOSTILE for text in texts], HOSTILE_FEATURE] = rng.uniform(1, 4)
    if step_ends:
        states[[text == STEP_TAG for text in texts], STEP_END] = 2.0
    return Acts({layer: torch.from_numpy(states) for layer in LAYERS}, rows, sequences)


def write_run(folder: Path) -> None:
    """Write an SAE run whose features are the coordinates."""
    eye = torch.eye(WIDTH)
    stage = Stage("train-sae", StageConfig(), inputs={}, out=folder)
    with stage:
        files = []
        for layer in LAYERS:
            sae = Sae(
                W_enc_DF=eye.clone(),
                b_enc_F=torch.zeros(WIDTH),
                W_dec_FD=eye.clone(),
                b_dec_D=torch.zeros(WIDTH),
                k=3,
                layer=layer,
                info={},
            )
            files += save_sae(stage.work / f"layer_{layer:02d}", sae)
        stage.finish(files, rows=0, extra={"layers": list(LAYERS)})


def write_inputs(home: Path, *, step_ends: bool = False) -> Path:
    """Write the states of three data sets and the SAE run."""
    for seed, name in enumerate(("reasoner", "plain", "plain-2")):
        made = make_acts(reasoning=name == "reasoner", seed=seed, step_ends=step_ends)
        write_acts(home / f"math-rm-{name}", made)
    write_run(home / "checkpoints" / "planted")
    return home


def settings_on(inputs: Path, data: Path) -> Settings:
    """Return settings of a new data folder with links to the states."""
    data.mkdir()
    for name in ("math-rm-reasoner", "math-rm-plain", "math-rm-plain-2"):
        (data / name).symlink_to(inputs / name)
    return Settings(data_dir=data, sae_checkpoint_dir=inputs / "checkpoints")


def diff(settings: Settings, **flags: Any) -> Path:
    return feature_diff.run(feature_diff.Config(**(DIFF | flags)), settings)


def show_dash(settings: Settings, **flags: Any) -> Path:
    return dash.run(dash.Config(**(DASH | flags)), settings)


def page_data(page: Path) -> dict[str, Any]:
    """Return what is inlined in a page."""
    found = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>',
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    return json.loads(found[0])


def piece_data(path: Path) -> Any:
    """Return the value of a piece."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("take(") and text.endswith(");\n")
    name, value = json.loads(f"[{text[5:-3]}]")
    assert path.as_posix().endswith(f"/{name}.js")
    return value


def layer_pages(out: Path, layer: int) -> dict[str, Any]:
    """Return all that a layer's page can show; it must have one piece of cards at most."""
    folder = out / f"layer_{layer:02d}"
    return page_data(out / f"layer_{layer:02d}.html") | {
        "listed": piece_data(folder / "list.js"),
        **piece_data(folder / "0000.js"),
    }


def by_feature(rows: list[FeatureDiff], *, layer: int) -> dict[int, FeatureDiff]:
    return {row.feature: row for row in rows if row.layer == layer}
