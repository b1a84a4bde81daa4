"""train-linreg on synthetic shards with a planted answer."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.probes.linreg import fit_ridge
from rewardscope.records import ActRow
from rewardscope.settings import Settings
from rewardscope.stages import train_linreg
from rewardscope.stages.train_linreg import Config, run
from rewardscope.storage.files import write_json
from rewardscope.storage.shards import ActStore, shard_file, write_act_rows, write_shard

WIDTH, PLANTED, NAME = 8, 2, "math-rm-toy-1.5B_tinymath"


def make_acts(
    data: Path, *, problems: int = 60, correct: bool | None = True, reward: float | None = None, other_tokens: int = 1
) -> ActStore:
    """Write a save-acts folder of 4 layers: layer 2 holds the reward in a linear form, layer 1 the verdict, the rest is noise.

    `correct` None leaves traces without a verdict; `reward` makes every reward the same. `other_tokens` rows that are no
    step ends stand before each step end; their states are far off and would spoil a probe that took them.
    """
    rng = torch.Generator().manual_seed(0)
    rows, states = [], []
    for problem in range(problems):
        for trace in range(2):
            verdict = (problem + trace) % 3 > 0
            for step in range(4):
                for is_end in [False] * other_tokens + [True]:
                    acts = torch.randn(4, WIDTH, generator=rng) * (1 if is_end else 1000)
                    acts[1, 0] += 4 * verdict
                    planted = float(acts[PLANTED] @ torch.arange(WIDTH).float()) / 40 + 0.5
                    value = (planted if reward is None else reward) if is_end else None
                    place = {"problem": f"toy/{problem}", "trace": trace, "step": step, "token": step, "token_id": 7}
                    rows.append(ActRow(**place, is_step_end=is_end, reward=value, correct=verdict if correct else None))
                    states.append(acts)
    folder = data / NAME
    acts_NLD, names = torch.stack(states), []
    for index, chunk in enumerate(acts_NLD.split(300)):
        write_shard(shard_file(folder, index), {layer: chunk[:, layer] for layer in range(4)})
        names.append(f"hiddens/{index:05d}.npz")
    write_act_rows(folder, rows, [])
    outputs = dict.fromkeys(names, "")
    extra = {"layers": [0, 1, 2, 3], "width": WIDTH}
    write_json(folder / "manifest.json", {"stage": "save-acts", "settings": {}, "outputs": outputs, "rows": len(rows), "extra": extra})
    return ActStore(folder)


def results(out: Path) -> dict[int, dict[str, str]]:
    with (out / "results.csv").open() as lines:
        return {int(row["layer"]): row for row in csv.DictReader(lines)}


def test_a_planted_reward_is_found_in_its_layer_and_nowhere_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_acts(tmp_path)
    out = run(Config(ds_name=NAME), Settings(data_dir=tmp_path))
    found = results(out)
    assert out == tmp_path / NAME / "linreg" / "reward"
    assert sorted(found) == [0, 1, 2, 3]
    assert float(found[PLANTED]["r2"]) > 0.99 and float(found[PLANTED]["low"]) > 0.99
    assert all(float(found[layer]["r2"]) < 0.2 and float(found[layer]["low"]) < 0.1 for layer in (0, 1, 3))
    assert all(row["auroc"] == "" and row["target"] == "reward" for row in found.values())
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 2 + 4 and "spearman" in shown


def test_a_planted_verdict_is_found_in_its_layer_with_its_auroc(tmp_path: Path) -> None:
    make_acts(tmp_path)
    found = results(run(Config(ds_name=NAME, target="correct"), Settings(data_dir=tmp_path)))
    assert float(found[1]["auroc"]) > 0.95 and float(found[1]["low"]) > 0.9
    assert all(abs(float(found[layer]["auroc"]) - 0.5) < 0.2 for layer in (0, 2, 3))


@pytest.mark.parametrize("target", ["reward", "correct"])
def test_results_are_those_of_sklearn_on_the_same_split(tmp_path: Path, target: str) -> None:
    store = make_acts(tmp_path)
    config = Config(ds_name=NAME, target=target, seed=3, ridge=2.5, test_share=0.3)
    out = run(config, Settings(data_dir=tmp_path))
    rows, acts = store.rows(), store.layer(1).double().numpy()
    with np.load(out / "layer_01.npz") as probe:
        predicted = (acts - probe["mean"]) / probe["scale"] @ probe["weights"] + probe["intercept"]
    ends = np.array([row.is_step_end for row in rows])
    value = np.array([float(row.reward if target == "reward" else row.correct) if row.is_step_end else 0.0 for row in rows])
    test = ends & np.array([train_linreg.is_test(row.problem, share=0.3, seed=3) for row in rows])
    train = ends & ~test
    scaler = StandardScaler().fit(acts[train])
    reference = Ridge(alpha=2.5).fit(scaler.transform(acts[train]), value[train]).predict(scaler.transform(acts[test]))
    np.testing.assert_allclose(predicted[test], reference, atol=1e-6)
    row = results(out)[1]
    assert (int(row["n_train"]), int(row["n_test"])) == (train.sum(), test.sum())
    assert float(row["r2"]) == pytest.approx(r2_score(value[test], reference), abs=1e-6)
    if target == "correct":
        assert float(row["auroc"]) == pytest.approx(roc_auc_score(value[test], reference), abs=1e-9)


def test_no_problem_is_on_both_sides(tmp_path: Path) -> None:
    store = make_acts(tmp_path)
    targets = train_linreg.read_targets(store, Config(ds_name=NAME))
    train, test = set(targets.problem[targets.train]), set(targets.problem[targets.test])
    assert train and test and not train & test
    assert len(train | test) == 60
    assert (targets.train | targets.test).sum() == 60 * 2 * 4  # the step ends and nothing else


def test_chosen_layers_only_are_fitted_and_a_layer_that_is_not_there_names_the_range(tmp_path: Path) -> None:
    make_acts(tmp_path)
    settings = Settings(data_dir=tmp_path)
    out = run(Config(ds_name=NAME, layers="1-2"), settings)
    assert sorted(path.name for path in out.glob("layer_*")) == ["layer_01.npz", "layer_02.npz"]
    with pytest.raises(ConfigError, match="layer 4 was not captured; captured are 0-3"):
        run(Config(ds_name=NAME, layers="0-27", target="correct"), settings)
    with pytest.raises(ConfigError, match="other settings"):
        run(Config(ds_name=NAME), settings)


def test_a_second_run_skips_and_a_lost_probe_is_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_acts(tmp_path)
    config, settings = Config(ds_name=str(tmp_path / NAME)), Settings(data_dir=tmp_path / "elsewhere")
    out = run(config, settings)
    whole, fitted = (out / "results.csv").read_bytes(), []
    monkeypatch.setattr("rewardscope.probes.linreg.fit_ridge", lambda *a, **k: fitted.append(1) or fit_ridge(*a, **k))
    run(config, settings)
    assert not fitted
    (out / "layer_03.npz").unlink()
    run(config, settings)
    assert len(fitted) == 1  # the other three were fitted under the same key
    assert (out / "results.csv").read_bytes() == whole


def test_base_dir_wins_over_the_settings(tmp_path: Path) -> None:
    make_acts(tmp_path / "here")
    out = run(Config(ds_name=NAME, base_dir=tmp_path / "here", layers="2"), Settings(data_dir=tmp_path / "there"))
    assert out.is_relative_to(tmp_path / "here")


def test_a_folder_that_is_not_there_names_the_task_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="math-rm-x is not there; make it with invoke save-acts"):
        run(Config(ds_name="math-rm-x"), Settings(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("made", "config", "message"),
    [
        ({"correct": None}, {"target": "correct"}, "no step end has a correct value"),
        ({"reward": 0.25}, {}, r"reward is 0\.25 in all \d+ rows on the training side"),
        ({"problems": 3}, {}, r"problems on the (training|test) side, at least 2 are needed"),
        ({"problems": 4}, {"target": "correct", "seed": 0}, "side"),
    ],
)
def test_data_that_no_probe_can_be_judged_on_are_refused_in_one_line(tmp_path: Path, made: dict, config: dict, message: str) -> None:
    make_acts(tmp_path, **made)
    with pytest.raises((ConfigError, MissingInput), match=message) as caught:
        run(Config(ds_name=NAME, **config), Settings(data_dir=tmp_path))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("results.csv"))


@pytest.mark.parametrize("wrong", [{"ridge": -1.0}, {"ridge": float("nan")}, {"test_share": 0.0}, {"test_share": 1.0}, {"layers": "0-"}])
def test_settings_out_of_range_are_refused_before_anything_is_read(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=r"^--"):
        Config(ds_name="x", **wrong)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    store = make_acts(tmp_path)
    shard_file(store.folder, 1).write_bytes(b"PK not a zip")
    with pytest.raises(BadRecord, match=r"00001\.npz is damaged"):
        run(Config(ds_name=NAME), Settings(data_dir=tmp_path))
