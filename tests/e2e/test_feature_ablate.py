"""feature-ablate through the real code: a random PRM, an SAE run and a baseline beside it."""

import json
import random
from pathlib import Path

import pytest
import torch

from rewardscope.errors import ConfigError, MissingInput, UnknownName
from rewardscope.features.ablation_table import AblationRow, FeatureFact
from rewardscope.features.diff_table import FeatureDiff
from rewardscope.interventions.outcomes import MEASURES
from rewardscope.problems.tinymath import load_tinymath, make_problems
from rewardscope.problems.tinymath_instruct import instruct_steps
from rewardscope.sae.model.checkpoint import save_sae
from rewardscope.sae.model.inference import Sae
from rewardscope.settings import Settings
from rewardscope.stages import feature_ablate
from rewardscope.stages.labelled_solutions import read_labelled
from rewardscope.storage.effect_files import read_effects
from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import write_rows
from rewardscope.storage.tables import columns_of, read_csv_as, write_csv
from tests.e2e.acts_runs import LAYERS, write_generations
from tests.unit.prms.tiny_prm import make_prm

WIDTH, F = 32, 96


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm"), layers=LAYERS))


def write_run(folder: Path, prm: str, *, seed: int, layers: tuple[int, ...] = (0, 1)) -> None:
    random = torch.Generator().manual_seed(seed)
    for layer in layers:
        directions_FD = torch.nn.functional.normalize(
            torch.randn(F, WIDTH, generator=random), dim=1
        )
        sae = Sae(
            W_enc_DF=directions_FD.T.contiguous(),
            b_enc_F=torch.zeros(F),
            W_dec_FD=directions_FD,
            b_dec_D=torch.full((WIDTH,), 0.1),
            k=12,
            layer=layer,
            info={"prm": prm},
        )
        save_sae(folder / f"layer_{layer:02d}", sae)
    write_json(folder / "manifest.json", {"stage": "train-sae", "extra": {"layers": list(layers)}})


@pytest.fixture
def settings(tmp_path: Path, prm: str) -> Settings:
    write_run(tmp_path / "run", prm, seed=0)
    write_run(tmp_path / "frozen", prm, seed=1)
    write_generations(tmp_path / "toy.jsonl")
    return Settings(data_dir=tmp_path, sae_checkpoint_dir=tmp_path)


def ablate(settings: Settings, features: str, **flags: object) -> Path:
    given = {"ds_name": "toy", "sae": "run", "device": "cpu", "layer": 1, "controls": 4, **flags}
    return feature_ablate.run(feature_ablate.Config(features=features, **given), settings)


def test_features_controls_and_a_baseline_stand_in_one_table(settings: Settings) -> None:
    folder = ablate(settings, "3,11,40", baseline="frozen", singles=2)
    rows = read_csv_as(folder / "results.csv", AblationRow)
    kinds = {row.kind for row in rows}
    assert kinds >= {"check", "feature", "set", "baseline"}
    assert {row.measure for row in rows} == set(MEASURES)
    single = [row for row in rows if row.kind == "feature" and row.measure == "size"]
    assert [row.name for row in single] == ["3", "11"]
    assert all(row.n_controls == 4 and row.change > 0 for row in single)
    assert all(row.change == 0 for row in rows if row.name == "no-op")
    facts = read_csv_as(folder / "features.csv", FeatureFact)
    assert [fact.feature for fact in facts if fact.chosen] == [3, 11, 40]
    assert single[0].rate == pytest.approx(next(f.rate for f in facts if f.feature == 3))
    effects = read_effects(folder / "effects.csv")
    own = [e for e in effects if e.place.component == "feature 3"]
    assert [e.method for e in own] == ["ablate", *["ablate control"] * 4]
    (score,) = (r for r in rows if (r.name, r.measure, r.kind) == ("3", "score", "feature"))
    assert own[0].estimate.value == pytest.approx(score.change)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["extra"]["solutions"] == 24 and manifest["extra"]["layer"] == 1


def test_features_are_chosen_by_what_holds_of_them(settings: Settings) -> None:
    data = settings.data_dir
    write_csv(data / "few.csv", [{"layer": 1, "feature": 7}], fields=("layer", "feature"))
    assert chosen(ablate(settings, "@few.csv")) == [7]
    with pytest.raises(ConfigError, match=r"@few\.csv: it has no feature of layer 0"):
        ablate(settings, "@few.csv", layer=0, name="other")
    with pytest.raises(MissingInput, match="run invoke feature-diff first"):
        ablate(settings, "favours=reasoning", name="diff")
    part = data / "features" / "run" / "diff" / "part_01_of_01.csv"
    columns = columns_of(FeatureDiff)
    shown = [(3, "reasoning", 0.1), (9, "instruct", 0.9), (5, "reasoning", -0.3)]
    rows = [
        dict.fromkeys(columns, 1) | {"feature": feature, "favours": side, "difference": difference}
        for feature, side, difference in shown
    ]
    write_csv(part, rows, fields=columns)
    write_json(
        part.with_name(f"{part.name}.manifest.json"),
        {"settings": {"part": 1, "total": 1}, "outputs": {}},
    )
    assert chosen(ablate(settings, "favours=reasoning", name="diff")) == [5, 3]
    with pytest.raises(ConfigError, match=r"'x' is no id; pass 1,2,3"):
        ablate(settings, "1,x")
    with pytest.raises(UnknownName, match="did you mean 'whitespace'"):
        ablate(settings, "category=whitespaces")
    with pytest.raises(ConfigError, match="has no feature 96, only 0 to 95"):
        ablate(settings, "96", name="beyond")


def chosen(folder: Path) -> list[int]:
    return json.loads((folder / "manifest.json").read_text())["extra"]["features"]


def test_a_layer_must_be_named_where_there_are_several(settings: Settings, prm: str) -> None:
    with pytest.raises(ConfigError, match=r"--layer is needed: .*run has layers 0, 1"):
        ablate(settings, "1", layer=None)
    write_run(settings.data_dir / "single", prm, seed=2, layers=(2,))
    assert chosen(ablate(settings, "1", sae="single", layer=None)) == [1]


def test_the_chain_of_a_tinymath_problem_says_which_steps_are_right(settings: Settings) -> None:
    problem, truth = load_tinymath(1)[0], make_problems(1, split="test", seed=0)[0]
    right = instruct_steps(truth, random.Random(0))
    common = {"problem_id": problem.id, "scores": None, "finish": "eos", "n_tokens": None}
    traces = [
        {"index": index, "steps": steps, "correct": correct, **common}
        for index, (steps, correct) in enumerate(
            [
                ([right[0], "Adding gives 1 + 1 = 3.", right[-1]], True),
                ([right[0], "Adding gives 1 + 1 = 3."], False),
                (["<think>", right[0]], False),
                (right, True),
            ]
        )
    ]
    row = {
        "problem": {
            "id": problem.id,
            "dataset": problem.dataset,
            "question": problem.question,
            "answer": problem.answer,
        },
        "traces": traces,
        "chosen": 0,
    }
    write_rows(settings.data_dir / "tiny.jsonl", [row])
    path = settings.data_dir / "tiny.jsonl"
    labels = [label for _, _, label in read_labelled(path, check_tinymath=True)]
    # a right answer by other steps, and thoughts, are judged by the answer
    assert labels == [(1, 1, 1), (1, 0), (0, 0), (1,) * len(right)]
    assert [label for _, _, label in read_labelled(path)][1] == (0, 0)
