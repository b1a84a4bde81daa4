"""The Neuronpedia export is read back with what any language has, and compared with the states."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardscope.storage.acts import ActStore
from tests.e2e.planted_features import (
    BOTH,
    WIDTH,
    layer_pages,
    settings_on,
    show_dash,
    write_inputs,
)

HEADS = ("release", "model", "sourceset", "source")


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found = {
        name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        for name in HEADS
    }
    for kind in ("features", "activations"):
        with gzip.open(folder / kind / "batch-0.jsonl.gz", "rt", encoding="utf-8") as lines:
            found[kind] = [json.loads(line) for line in lines]
    return found


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("neuronpedia")
    return show_dash(settings_on(write_inputs(home), home / "data"), neuronpedia=True, layers="0")


@pytest.fixture(scope="module")
def export(out: Path) -> dict[str, list[dict[str, Any]]]:
    (folder,) = (out / "neuronpedia").glob("*/*/")
    assert folder.name == "0-planted"
    return read(folder)


def test_the_heads_name_one_another(export: dict[str, list[dict[str, Any]]]) -> None:
    ((release,), (model,), (source_set,), (source,)) = (export[name] for name in HEADS)
    assert source_set["releaseName"] == release["name"]
    assert (source["setName"], source["modelId"]) == (source_set["name"], model["id"])
    assert source["id"] == "0-planted" and model["dimension"] == WIDTH
    assert source["num_prompts"] == 2 * 24
    assert {f["layer"] for f in export["features"] + export["activations"]} == {source["id"]}


def test_activations_are_those_of_the_states(
    export: dict[str, list[dict[str, Any]]], out: Path
) -> None:
    names = ("math-rm-plain", "math-rm-reasoner")
    stores = {name: ActStore(out.parents[1] / name) for name in names}
    tables = {}
    for name, store in stores.items():
        state_ND, rows = store.layer(0).numpy(), store.rows
        for line, sequence in enumerate(store.sequences):
            mine = np.flatnonzero(rows.sequence_N == line)
            key = (name, f"{sequence.problem}, trace {sequence.trace}")
            tables[key] = (list(sequence.tokens), state_ND[mine], rows.token_N[mine])
    assert export["activations"]
    for one in export["activations"]:
        tokens, state_TD, token_T = tables[one["dataSource"], one["dataIndex"]]
        assert token_T.tolist() == list(range(len(tokens)))
        own_T = state_TD[:, int(one["index"])]  # features are the coordinates
        n, values = len(one["values"]), np.array(one["values"])
        starts = [
            at
            for at in range(len(tokens) - n + 1)
            if tokens[at : at + n] == one["tokens"]
            and np.allclose(own_T[at : at + n], values, rtol=1e-3)
        ]
        assert starts, one
        assert one["maxValue"] == values.max() == values[one["maxValueTokenIndex"]]
        assert values[one["qualifyingTokenIndex"]] > 0
    ids = [one["id"] for one in export["activations"]]
    assert len(set(ids)) == len(ids)


def test_features_have_their_statistics_and_directions(
    export: dict[str, list[dict[str, Any]]], out: Path
) -> None:
    cards = {str(card["id"]): card for card in layer_pages(out, 0)["features"]}
    assert [one["index"] for one in export["features"]] == list(cards)
    for one in export["features"]:
        number = int(one["index"])
        assert one["vector"] == np.eye(WIDTH)[number].tolist()
        assert (one["neuron_alignment_indices"][0], one["neuron_alignment_l1"][0]) == (number, 1.0)
        assert number not in one["topkCosSimIndices"] and len(one["topkCosSimIndices"]) == WIDTH - 1
        assert one["hookName"] == "blocks.0.hook_resid_post"
    (both,) = (one for one in export["features"] if one["index"] == str(BOTH))
    states = np.concatenate(
        [ActStore(out.parents[1] / f"math-rm-{n}").layer(0).numpy() for n in ("plain", "reasoner")]
    )
    fires = states[:, BOTH] > 0
    assert both["frac_nonzero"] == pytest.approx(fires.mean(), rel=1e-3)
    assert sum(both["freq_hist_data_bar_heights"]) == fires.sum()
    assert both["maxActApprox"] == 2.0 and both["freq_hist_data_bar_values"][-1] < 2.0
