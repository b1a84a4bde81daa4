"""sae-quality and export-sae through the real code, on a small random PRM."""

import json
from pathlib import Path

import pytest
import torch

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.sae.model.checkpoint import load_sae, save_sae
from rewardscope.sae.model.inference import Sae
from rewardscope.sae.model.runs import find_sae
from rewardscope.settings import Settings
from rewardscope.stages import export_sae, sae_quality
from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import write_rows
from tests.e2e.acts_runs import LAYERS, run_stage, write_generations
from tests.unit.prms.tiny_prm import make_prm, random_solutions

WIDTH, F = 32, 96


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm"), layers=LAYERS))


@pytest.fixture
def settings(tmp_path: Path, prm: str) -> Settings:
    """Return settings with a finished run of two layers, `run`, that held out two of twelve
    problems.
    """
    random = torch.Generator().manual_seed(0)
    for layer in (0, 2):
        directions_FD = torch.nn.functional.normalize(
            torch.randn(F, WIDTH, generator=random), dim=1
        )
        sae = Sae(
            W_enc_DF=directions_FD.T.contiguous(),
            b_enc_F=torch.zeros(F),
            W_dec_FD=directions_FD,
            b_dec_D=torch.zeros(WIDTH),
            k=8,
            layer=layer,
            info={"prm": prm},
        )
        save_sae(tmp_path / "run" / f"layer_{layer:02d}", sae)
    extra = {"layers": [0, 2], "held_out_problems": ["toy/3", "toy/7"]}
    write_json(tmp_path / "run" / "manifest.json", {"stage": "train-sae", "extra": extra})
    write_generations(tmp_path / "toy.jsonl")
    return Settings(data_dir=tmp_path, sae_checkpoint_dir=tmp_path)


def measure(settings: Settings, **flags: object) -> list[dict]:
    config = sae_quality.Config(**{"ds_name": "toy", "sae": "run", "device": "cpu", **flags})
    return json.loads(sae_quality.run(config, settings).read_text())


def test_held_out_problems_are_measured_at_every_layer(settings: Settings) -> None:
    first, second = measure(settings)
    assert [row["reward"]["layer"] for row in (first, second)] == [0, 2]
    assert first["reward"]["n_problems"] == first["quality"]["n_problems"] == 2
    assert first["reward"]["n_solutions"] == 4
    assert first["quality"]["l0"]["value"] <= 8
    assert sum(first["quality"]["density"]) == round(
        (1 - first["quality"]["dead_share"]["value"]) * F
    )
    for name in ("sae", "zero", "mean"):
        assert 0 < first["reward"][name]["difference"]["value"] < 1
    expected = (
        1
        - first["reward"]["sae"]["difference"]["value"]
        / first["reward"]["mean"]["difference"]["value"]
    )
    assert first["reward"]["share_of_mean"]["value"] == pytest.approx(expected)


def test_a_folder_of_save_acts_stands_for_its_generations(settings: Settings, prm: str) -> None:
    folder = run_stage(settings.data_dir / "toy.jsonl", prm=prm, positions="all-tokens", layers="0")
    from_folder = measure(settings, ds_name=folder.name, problems="all", layers="0")
    assert (
        from_folder[0]["quality"]["n_rows"]
        == json.loads((folder / "manifest.json").read_text())["rows"]
    )
    assert from_folder[0]["reward"]["n_problems"] == 12


def test_the_labels_of_processbench_say_which_steps_are_right(settings: Settings) -> None:
    rows = []
    for number, (question, steps) in enumerate(random_solutions(8, seed=4)):
        rows.append(
            {
                "id": f"gsm8k-{number}",
                "problem": question,
                "steps": steps,
                "label": len(steps) - 1 if number % 2 else -1,
            }
        )
    write_rows(settings.data_dir / "pb.jsonl", rows)
    (row,) = measure(settings, ds_name="pb", problems="all", layers="2")
    assert row["reward"]["n_steps"] == sum(len(r["steps"]) for r in rows)
    assert 0 <= row["reward"]["auroc"]["value"] <= 1
    assert row["reward"]["zero"]["auroc_change"]["value"] == pytest.approx(
        0.5 - row["reward"]["auroc"]["value"]
    )


def test_what_is_not_there_is_named_before_the_prm_is_loaded(settings: Settings) -> None:
    with pytest.raises(MissingInput, match="nothing is not there"):
        measure(settings, ds_name="nothing")
    write_json(
        settings.data_dir / "run" / "manifest.json",
        {"stage": "train-sae", "extra": {"layers": [0, 2], "held_out_problems": ["x"]}},
    )
    with pytest.raises(
        MissingInput, match=r"none of its problems was held out .* pass --problems all"
    ):
        measure(settings)


def test_the_states_of_a_policy_have_no_rewards_to_keep(settings: Settings) -> None:
    extra = {"mode": "policy", "generations": str(settings.data_dir / "toy.jsonl")}
    write_json(
        settings.data_dir / "math-policy-toy" / "manifest.json",
        {"stage": "save-acts", "extra": extra},
    )
    with pytest.raises(ConfigError, match="states of a policy"):
        measure(settings, ds_name="math-policy-toy")


@pytest.mark.parametrize("layout", ["saelens", "sparsify", "dictionary-learning"])
def test_a_run_goes_to_another_library_and_comes_back(settings: Settings, layout: str) -> None:
    there, back = settings.data_dir / "there", settings.data_dir / "back"
    export_sae.run(export_sae.Config(sae="run", format=layout, out=there), settings)
    assert sorted(find_sae(str(there), settings).layers) == [0, 2]
    export_sae.run(export_sae.Config(sae=str(there), format="rewardscope", out=back), settings)
    x_ND = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1))
    for layer, folder in find_sae(str(back), settings).layers.items():
        original = load_sae(
            settings.data_dir / "run" / f"layer_{layer:02d}", device=torch.device("cpu")
        )
        loaded = load_sae(folder, device=torch.device("cpu"))
        torch.testing.assert_close(
            loaded.reconstruct(x_ND), original.reconstruct(x_ND), rtol=1e-6, atol=1e-6
        )
    card = (back / "README.md").read_text()
    assert f"width {WIDTH}, {F} features" in card
    assert "topk; 8 features fire at most" in card


def test_an_export_that_exists_is_kept_unless_forced(settings: Settings) -> None:
    out = settings.data_dir / "there"
    export_sae.run(export_sae.Config(sae="run", format="saelens", out=out, layers="2"), settings)
    assert [path.name for path in sorted(out.iterdir())] == ["layer_02", "manifest.json"]
    with pytest.raises(ConfigError, match="pass --force"):
        export_sae.run(
            export_sae.Config(sae="run", format="sparsify", out=out, layers="2"), settings
        )
    export_sae.run(
        export_sae.Config(sae="run", format="sparsify", out=out, layers="2", force=True), settings
    )
    assert (out / "layers.2" / "sae.safetensors").is_file()
