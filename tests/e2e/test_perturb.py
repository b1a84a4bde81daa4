"""perturb through the real code: a random PRM, tinymath and files of every kind."""

import json
from pathlib import Path

import pytest

from rewardscope.errors import MissingInput
from rewardscope.prms import load_scorer
from rewardscope.settings import Settings
from rewardscope.stages.perturb import Config, run
from rewardscope.stages.perturb_tables import RuleChange, RuleSeparation
from rewardscope.storage.effect_files import read_effects
from rewardscope.storage.jsonl import read_rows, write_rows
from rewardscope.storage.tables import read_csv_as
from tests.e2e.acts_runs import write_generations
from tests.unit.prms.tiny_prm import make_prm


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_prm(tmp_path_factory.mktemp("prm") / "toy-prm"))


def perturb(data: Path, prm: str, **flags: object) -> Path:
    config = Config(**{"prm": prm, "device": "cpu", "limit": 12, **flags})
    return run(config, Settings(data_dir=data))


def test_every_rule_is_scored_and_its_scores_are_those_of_the_prm(tmp_path: Path, prm: str) -> None:
    folder = perturb(tmp_path, prm)
    pairs = list(read_rows(folder / "pairs.jsonl"))
    scorer = load_scorer(prm, engine="hf", device="cpu")
    for row in pairs[::9]:
        sides = [
            scorer.score([scorer.encode(row[f"{side}question"], row[f"{side}steps"])])[0]
            for side in ("", "edited_")
        ]
        assert row["scores"] == pytest.approx(sides[0], abs=1e-5)
        assert row["edited_scores"] == pytest.approx(sides[1], abs=1e-5)
    changes = read_csv_as(folder / "rules.csv", RuleChange)
    assert {row.kind for row in changes} == {"preserving", "changing"}
    (row,) = (r for r in changes if (r.rule, r.reading) == ("wrong-number", "final"))
    own = [r for r in pairs if r["rule"] == "wrong-number"]
    moved = [r["edited_scores"][-1] - r["scores"][-1] for r in own]
    assert row.n_pairs == row.n_problems == 12
    assert row.change == pytest.approx(sum(moved) / 12)
    effects = read_effects(folder / "effects.csv")
    (effect,) = (
        e for e in effects if (e.place.component, e.place.position) == ("wrong-number", "final")
    )
    by_problem = {r["problem"]: change for r, change in zip(own, moved, strict=True)}
    assert effect.values == pytest.approx(by_problem)
    apart = read_csv_as(folder / "separation.csv", RuleSeparation)
    assert len([r for r in apart if r.changing == "all"]) == 3
    assert all(r.auroc is not None and 0 <= r.auroc <= 1 for r in apart)


def test_files_are_cut_before_their_first_wrong_step_and_published_pairs_stand_beside(
    tmp_path: Path, prm: str
) -> None:
    steps = ["1. There are 3 apples.", "2. 3 + 4 = 7.", "3. So \\boxed{7}."]
    process = {"id": "gsm8k-1", "problem": "How many apples?", "steps": steps, "label": 2}
    none_right = process | {"id": "gsm8k-2", "label": 0}
    write_rows(tmp_path / "process.jsonl", [process, none_right])
    common = {"original_question": "Q?", "modified_question": "Q?", "original_process": steps}
    modified = [steps[0], "2. 3 + 4 = 8.", steps[2]]
    wrong = {"modified_process": modified, "error_steps": [2], "classification": "circular"}
    other = {"modified_process": [*steps, "4. Yes."], "error_steps": []}
    right = other | {"classification": "multi_solutions"}
    write_rows(tmp_path / "prmbench.jsonl", [common | wrong, common | right])
    write_generations(tmp_path / "made.jsonl", n=3)
    folder = perturb(tmp_path, prm, datasets=("process", "prmbench", "made"), steps="every")
    pairs = list(read_rows(folder / "pairs.jsonl"))
    assert {len(row["steps"]) for row in pairs if row["dataset"] == "process"} == {2}
    published = {r["rule"]: r for r in pairs if r["rule"].startswith("prmbench")}
    circular, several = (published[f"prmbench {x}"] for x in ("circular", "multi_solutions"))
    assert (circular["kind"], circular["at"], circular["ends"]) == ("changing", 1, [0, 1, 2])
    assert circular["edited_steps"][1] == "3 + 4 = 8."
    assert (several["kind"], several["ends"][-1], several["at"]) == ("preserving", 2, 2)
    skipped = json.loads((folder / "manifest.json").read_text())["skipped"]
    assert skipped["no step is known to be right"] == 1 + 3  # of process and of made
    assert skipped["other-question does not apply"] >= 1


def test_a_finished_result_is_not_made_again_and_what_is_missing_is_named(
    tmp_path: Path, prm: str
) -> None:
    first = perturb(tmp_path, prm, rules=("filler",))
    made = (first / "manifest.json").stat().st_mtime_ns
    assert perturb(tmp_path, prm, rules=("filler",)) == first
    assert (first / "manifest.json").stat().st_mtime_ns == made
    with pytest.raises(MissingInput, match="nothing is not there"):
        perturb(tmp_path, prm, datasets=("nothing",))
    write_rows(
        tmp_path / "wrong.jsonl", [{"id": "a-1", "problem": "?", "steps": ["So 3."], "label": 0}]
    )
    with pytest.raises(MissingInput, match="no rule applies to any of its right solutions"):
        perturb(tmp_path, prm, datasets=("wrong",))
