"""train-sae straight from the forward pass of a small random PRM, beside the same through
save-acts.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from rewardscope.capturing.inputs import Pick, PrmEncoder, encode_traces
from rewardscope.errors import ConfigError, MissingInput
from rewardscope.prms.scorer import HfScorer
from rewardscope.sae.train.forward_rows import ForwardSource
from rewardscope.sae.train.trainer import Trainer
from rewardscope.settings import Settings
from rewardscope.stages import train_sae
from rewardscope.storage.acts import ActStore
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import read_json
from tests.e2e.acts_runs import LAYERS, save, write_generations
from tests.unit.prms.tiny_prm import make_prm

SMALL: dict[str, Any] = {
    "n_features": "64",
    "k": "4",
    "batch": 32,
    "tokens": 500,
    "layers": "1,2",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm"), layers=LAYERS))


@pytest.fixture(scope="module")
def generations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generations(tmp_path_factory.mktemp("data") / "toy.jsonl")


@pytest.fixture(scope="module")
def store(generations: Path, prm: str) -> ActStore:
    return save(generations, prm, positions="all-tokens")


@pytest.fixture
def settings(generations: Path, tmp_path: Path) -> Settings:
    return Settings(data_dir=generations.parent, sae_checkpoint_dir=tmp_path / "checkpoints")


def stream(settings: Settings, prm: str, **flags: Any) -> Path:
    return train_sae.run(
        train_sae.Config(
            **(SMALL | {"source": "stream", "generations": ("toy",), "prm": prm} | flags)
        ),
        settings,
    )


def in_order(x_ND: torch.Tensor) -> torch.Tensor:
    return x_ND[x_ND[:, 0].argsort()]


def test_the_rows_of_the_forward_pass_are_those_of_save_acts(
    generations: Path, prm: str, store: ActStore
) -> None:
    scorer = HfScorer(prm, device="cpu")
    traces = [
        (solved.problem, trace) for solved in read_solved(generations) for trace in solved.traces
    ]
    encoder = PrmEncoder(scorer.adapter, scorer.tokenizer, max_positions=scorer.max_positions)
    items = encode_traces(
        traces, encoder=encoder, pick=Pick("all-tokens", 0, 0), known_scores=False
    ).items
    source = ForwardSource(scorer, items, (0, 2), width=scorer.width, batch_tokens=200)
    assert sum(source.sizes) == store.n_rows
    read = source.read(range(len(items)))
    for layer in (0, 2):
        torch.testing.assert_close(
            in_order(read[layer]), in_order(store.layer(layer)), rtol=1e-4, atol=1e-4
        )
    part = source.read([3, 5])
    assert [len(acts_ND) for acts_ND in part.values()] == [source.sizes[3] + source.sizes[5]] * 2
    codes = {item.problem: number for number, item in enumerate(items)}
    for acts, problem_N in source.held(codes):
        assert len(acts[0]) == len(problem_N)


def test_held_out_problems_and_rows_are_those_of_a_run_on_shards(
    settings: Settings, prm: str, store: ActStore
) -> None:
    from_forward = stream(settings, prm, run="stream", holdout=0.25)
    flags = SMALL | {"ds_names": (str(store.folder),), "run": "shards", "holdout": 0.25}
    from_shards = train_sae.run(train_sae.Config(**flags), settings)
    manifests = [read_json(folder / "manifest.json") for folder in (from_forward, from_shards)]
    assert manifests[0]["rows"] == manifests[1]["rows"]
    assert manifests[0]["extra"]["held_out_problems"] == manifests[1]["extra"]["held_out_problems"]
    for layer in ("layer_01", "layer_02"):
        one, other = (
            read_json(folder / layer / "quality.json") for folder in (from_forward, from_shards)
        )
        assert (one["n_rows"], one["n_problems"]) == (other["n_rows"], other["n_problems"])
        assert one["fvu"]["value"] == pytest.approx(other["fvu"]["value"], abs=0.05)
        assert read_json(from_forward / layer / "cfg.json")["metadata"]["prm"] == prm


def test_a_stopped_run_goes_on_to_the_same_bits_with_a_buffer_of_few_traces(
    settings: Settings, prm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rewardscope.sae.train import stream as module

    real_init = module.ActStream.__init__

    def small(self: Any, source: Any, **flags: Any) -> None:
        real_init(self, source, **(flags | {"buffer_bytes": 4 * source.width * 2 * 120}))

    monkeypatch.setattr(module.ActStream, "__init__", small)
    whole = stream(settings, prm, run="whole")
    real = Trainer.step

    def stopped(self: Trainer, batch: Any) -> Any:
        if self.n_done == 9:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(Trainer, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        stream(settings, prm, run="stopped", save_every="4")
    monkeypatch.setattr(Trainer, "step", real)
    again = stream(settings, prm, run="stopped", save_every="4")
    for layer in ("layer_01", "layer_02"):
        assert (whole / layer / "sae.safetensors").read_bytes() == (
            again / layer / "sae.safetensors"
        ).read_bytes()


def test_step_ends_alone_may_be_streamed(settings: Settings, prm: str, generations: Path) -> None:
    out = stream(settings, prm, positions="step-ends", batch_tokens=100)
    n_ends = sum(len(trace.steps) for solved in read_solved(generations) for trace in solved.traces)
    quality = read_json(out / "layer_01" / "quality.json")
    assert read_json(out / "manifest.json")["rows"] + quality["n_rows"] == n_ends


def test_what_cannot_work_is_said(settings: Settings, prm: str) -> None:
    with pytest.raises(MissingInput, match="nothing is not there; make it with invoke infer"):
        stream(settings, prm, generations=("nothing",))
    with pytest.raises(ConfigError, match="layer 9 is out of range"):
        stream(settings, prm, layers="9")
    assert not settings.sae_checkpoint_dir.exists()
