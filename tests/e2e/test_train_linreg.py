"""train-linreg on synthetic shards with a planted answer."""

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.probes.fit import fit_layer
from rewardscope.probes.table import Split, read_table
from rewardscope.settings import Settings
from rewardscope.splits import is_test
from rewardscope.stages.train_linreg import Config, run
from rewardscope.storage.shards import shard_file
from tests.act_files import read_act_rows
from tests.e2e.toy_acts import NAME, PLANTED, make_acts

CONTROLS = {"token", "position", "shuffled by position", "random projection", "layer 0"}


def results(out: Path, probe: str = "states") -> dict[int | None, dict[str, str]]:
    with (out / "results.csv").open() as lines:
        return {
            int(row["layer"]) if row["layer"] else None: row
            for row in csv.DictReader(lines)
            if row["probe"] == probe
        }


def test_a_planted_reward_is_found_in_its_layer_and_not_by_the_controls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_acts(tmp_path)
    out = run(Config(ds_name=NAME), Settings(data_dir=tmp_path))
    found = results(out)
    assert out == tmp_path / NAME / "linreg" / "reward"
    assert sorted(found) == [0, 1, 2, 3]
    assert float(found[PLANTED]["r2"]) > 0.99 and float(found[PLANTED]["low"]) > 0.99
    assert all(
        float(found[layer]["r2"]) < 0.2 and float(found[layer]["low"]) < 0.1 for layer in (0, 1, 3)
    )
    assert {layer: row["beats_controls"] for layer, row in found.items()} == {
        0: "False",
        1: "False",
        2: "True",
        3: "False",
    }
    for control in CONTROLS - {"random projection"}:
        assert all(float(row["r2"]) < 0.1 for row in results(out, control).values()), control
    # one direction of eight holds a part of it
    assert float(results(out, "random projection")[PLANTED]["r2"]) < 0.9
    assert all(row["auroc"] == "" and row["target"] == "reward" for row in found.values())
    shown = capsys.readouterr().out
    flagged = "".join(
        line for line in shown.splitlines() if "do not beat their best control: " in line
    )
    assert all(str(layer) in flagged for layer in (0, 1, 3)) and str(PLANTED) not in flagged
    headers = [line for line in shown.splitlines() if line.startswith("layer")]
    assert all(any(control in header for header in headers) for control in CONTROLS), shown


def test_a_planted_verdict_is_found_in_its_layer_with_its_auroc(tmp_path: Path) -> None:
    make_acts(tmp_path)
    out = run(Config(ds_name=NAME, target="correct"), Settings(data_dir=tmp_path))
    found = results(out)
    assert (
        float(found[1]["auroc"]) > 0.95
        and float(found[1]["low"]) > 0.9
        and found[1]["beats_controls"] == "True"
    )
    assert (
        float(found[1]["accuracy"]) > 0.9 > float(found[1]["majority"])
        and float(found[1]["ece"]) < 0.1
        and 0 < float(found[1]["ece_calibrated"]) < 0.1
    )
    assert all(
        abs(float(found[layer]["auroc"]) - 0.5) < 0.2 and found[layer]["beats_controls"] == "False"
        for layer in (0, 2, 3)
    )


def test_a_target_of_position_alone_is_flagged_by_the_position_control(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_acts(tmp_path, reward=lambda step: [0.9, 0.2, 0.4, 0.3][step])
    out = run(Config(ds_name=NAME), Settings(data_dir=tmp_path))
    assert float(results(out, "position")[None]["r2"]) > 0.99
    for row in results(out).values():
        assert row["best_control"] in ("position", "token") and row["beats_controls"] == "False"
    assert "layers 0-3 do not beat their best control: " in capsys.readouterr().out


@pytest.mark.parametrize("target", ["reward", "correct"])
def test_results_are_those_of_sklearn_on_the_same_split(tmp_path: Path, target: str) -> None:
    store = make_acts(tmp_path)
    config = Config(ds_name=NAME, target=target, seed=3, ridge="2.5", test_share=0.3)
    out = run(config, Settings(data_dir=tmp_path))
    rows, acts = read_act_rows(store), store.layer(1).double().numpy()
    ends = np.array([row.is_step_end for row in rows])
    value = np.array(
        [
            float(row.reward if target == "reward" else row.correct) if row.is_step_end else 0.0
            for row in rows
        ]
    )
    test = ends & np.array([is_test(row.problem, share=0.3, seed=3) for row in rows])
    train = ends & ~test
    scaler = StandardScaler().fit(acts[train])
    seen, unseen = scaler.transform(acts[train]), scaler.transform(acts[test])
    row, predicted = results(out)[1], np.zeros(0)
    with np.load(out / "layer_01.npz") as probe:
        if target == "reward":
            model = Ridge(alpha=2.5).fit(seen, value[train])
            predicted = model.predict(unseen)
            np.testing.assert_allclose(probe["weights"], model.coef_, atol=1e-6, rtol=1e-6)
        else:
            model = LogisticRegression(
                C=1 / 2.5, tol=1e-12, max_iter=1000, solver="newton-cholesky"
            ).fit(seen, value[train])
            predicted = model.predict_proba(unseen)[:, 1]
            np.testing.assert_allclose(probe["weights"], model.coef_[0], atol=1e-5, rtol=1e-5)
            assert float(row["auroc"]) == pytest.approx(
                roc_auc_score(value[test], predicted), abs=1e-9
            )
            assert float(row["accuracy"]) == pytest.approx(model.score(unseen, value[test]))
    assert (int(row["n_train"]), int(row["n_test"])) == (train.sum(), test.sum())
    assert float(row["r2"]) == pytest.approx(r2_score(value[test], predicted), abs=1e-6)
    assert float(row["mse"]) == pytest.approx(np.mean((value[test] - predicted) ** 2), abs=1e-6)


def test_no_problem_is_on_both_sides_nor_in_two_folds(tmp_path: Path) -> None:
    table = read_table(
        make_acts(tmp_path).rows, "reward", Split(test_share=0.2, seed=0, folds=5), name="acts"
    )
    train, test = set(table.problem[table.train]), set(table.problem[table.test])
    assert train and test and not train & test
    assert len(train | test) == 60
    assert (table.train | table.test).sum() == 60 * 2 * 4  # the step ends and nothing else
    assert all(
        len(set(table.fold[(table.problem == problem) & table.train])) == 1 for problem in train
    )


def test_chosen_layers_only_are_fitted_and_a_layer_that_is_not_there_names_the_range(
    tmp_path: Path,
) -> None:
    make_acts(tmp_path)
    settings = Settings(data_dir=tmp_path)
    out = run(Config(ds_name=NAME, layers="1-2"), settings)
    assert sorted(path.name for path in out.glob("layer_*")) == ["layer_01.npz", "layer_02.npz"]
    assert sorted(results(out)) == [1, 2] and None in results(out, "layer 0")  # it stays a control
    with pytest.raises(ConfigError, match="layer 4 was not captured; captured are 0-3"):
        run(Config(ds_name=NAME, layers="0-27", target="correct"), settings)
    with pytest.raises(ConfigError, match="other settings"):
        run(Config(ds_name=NAME), settings)


def test_a_second_run_skips_and_a_lost_probe_is_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_acts(tmp_path)
    config, settings = (
        Config(ds_name=str(tmp_path / NAME)),
        Settings(data_dir=tmp_path / "elsewhere"),
    )
    out = run(config, settings)
    whole, fitted = (out / "results.csv").read_bytes(), []
    monkeypatch.setattr(
        "rewardscope.probes.fit.fit_layer", lambda *a, **k: fitted.append(1) or fit_layer(*a, **k)
    )
    run(config, settings)
    assert not fitted
    (out / "layer_03.npz").unlink()
    run(config, settings)
    assert len(fitted) == 1  # the other three were fitted under the same key
    assert (out / "results.csv").read_bytes() == whole


def test_base_dir_wins_over_the_settings(tmp_path: Path) -> None:
    make_acts(tmp_path / "here")
    out = run(
        Config(ds_name=NAME, base_dir=tmp_path / "here", layers="2"),
        Settings(data_dir=tmp_path / "there"),
    )
    assert out.is_relative_to(tmp_path / "here")


def test_a_folder_that_is_not_there_names_the_task_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="math-rm-x is not there; make it with invoke save-acts"):
        run(Config(ds_name="math-rm-x"), Settings(data_dir=tmp_path))


@pytest.mark.parametrize(
    ("made", "config", "message"),
    [
        ({"correct": None}, {"target": "correct"}, "no step end has a correct value"),
        (
            {"reward": lambda step: 0.25},
            {},
            r"reward is 0\.25 in all \d+ rows on the training side",
        ),
        ({"problems": 3}, {}, r"problems on the (training|test) side, at least \d are needed"),
        (
            {"problems": 7},
            {"folds": 6},
            r"\d of 7 problems on the training side, at least 6 are needed for 6 folds",
        ),
        ({"problems": 4}, {"target": "correct", "seed": 0, "ridge": "1"}, "side"),
    ],
)
def test_data_that_no_probe_can_be_judged_on_are_refused_in_one_line(
    tmp_path: Path, made: dict, config: dict, message: str
) -> None:
    make_acts(tmp_path, **made)
    with pytest.raises((ConfigError, MissingInput), match=message) as caught:
        run(Config(ds_name=NAME, **config), Settings(data_dir=tmp_path))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("results.csv"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ridge": "-1"},
        {"ridge": "nan"},
        {"ridge": "1..0"},
        {"folds": 1},
        {"test_share": 0.0},
        {"test_share": 1.0},
        {"layers": "0-"},
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_read(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=r"^--"):
        Config(ds_name="x", **wrong)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    store = make_acts(tmp_path)
    shard_file(store.folder, 1).write_bytes(b"PK not a zip")
    with pytest.raises(BadRecord, match=r"00001\.npz is damaged"):
        run(Config(ds_name=NAME), Settings(data_dir=tmp_path))
