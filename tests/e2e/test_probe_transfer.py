"""probe-transfer and probe-predict on synthetic folders: what transfers, what does not, and that no
problem leaks.
"""

import csv
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.probes.shared_problems import same_problems
from rewardscope.probes.table import Split, read_table
from rewardscope.settings import Settings
from rewardscope.splits import is_test
from rewardscope.stages import probe_predict, train_linreg
from rewardscope.stages.probe_transfer import Config, run
from rewardscope.storage.acts import ActStore
from tests.act_files import read_act_rows
from tests.e2e.toy_acts import PLANTED, make_acts

A, B, C = "math-rm-a_toy", "math-rm-b_toy", "math-rm-c_toy"


def rows_of(out: Path) -> dict[tuple[str, str, int], dict[str, str]]:
    with (out / "results.csv").open() as lines:
        return {
            (row["train"], row["test"], int(row["layer"])): row for row in csv.DictReader(lines)
        }


def test_a_probe_transfers_where_the_direction_is_the_same_and_not_where_it_is_turned(
    tmp_path: Path,
) -> None:
    make_acts(tmp_path, name=A)
    make_acts(tmp_path, name=B, seed=1)
    make_acts(tmp_path, name=C, seed=2, flip=-1.0)
    out = run(Config(ds_names=(A, B, C)), Settings(data_dir=tmp_path))
    found = rows_of(out)
    assert out == tmp_path / "probe-transfer" / "a_toy+b_toy+c_toy" / "reward"
    assert len(found) == 3 * 3 * 4
    same, turned = found["a_toy", "b_toy", PLANTED], found["a_toy", "c_toy", PLANTED]
    assert float(same["value"]) > 0.99 and abs(float(same["loss"])) < 0.01
    assert float(turned["value"]) < -2 and float(turned["loss_low"]) > 1
    for name in ("a_toy", "b_toy", "c_toy"):
        within = found[name, name, PLANTED]
        assert float(within["value"]) > 0.99
        assert float(within["loss"]) == float(within["loss_low"]) == float(within["loss_high"]) == 0


def test_values_are_those_of_sklearn_trained_here_and_tested_there(tmp_path: Path) -> None:
    stores = {
        "a_toy": make_acts(tmp_path, name=A),
        "b_toy": make_acts(tmp_path, name=B, seed=1, shift=0.5),
    }
    found = rows_of(
        run(Config(ds_names=(A, B), ridge="2", layers="2"), Settings(data_dir=tmp_path))
    )
    sides = {}
    for name, store in stores.items():
        ends = np.array([row.is_step_end for row in read_act_rows(store)])
        test = np.array([is_test(row.problem, share=0.2, seed=0) for row in read_act_rows(store)])
        value = np.array([row.reward or 0.0 for row in read_act_rows(store)])
        acts = store.layer(2).double().numpy()
        sides[name] = (
            acts[ends & ~test],
            value[ends & ~test],
            acts[ends & test],
            value[ends & test],
        )
    scaler = StandardScaler().fit(sides["a_toy"][0])
    model = Ridge(alpha=2).fit(scaler.transform(sides["a_toy"][0]), sides["a_toy"][1])
    expected = r2_score(sides["b_toy"][3], model.predict(scaler.transform(sides["b_toy"][2])))
    assert float(found["a_toy", "b_toy", 2]["value"]) == pytest.approx(expected, abs=1e-6)
    within = found["b_toy", "b_toy", 2]
    assert float(found["a_toy", "b_toy", 2]["loss"]) == pytest.approx(
        float(within["value"]) - expected, abs=1e-6
    )


def test_the_diagonal_is_what_train_linreg_finds(tmp_path: Path) -> None:
    make_acts(tmp_path, name=A)
    make_acts(tmp_path, name=B, seed=1)
    settings = Settings(data_dir=tmp_path)
    found = rows_of(run(Config(ds_names=(A, B), target="correct"), settings))
    with (
        train_linreg.run(train_linreg.Config(ds_name=A, target="correct"), settings) / "results.csv"
    ).open() as lines:
        alone = {
            int(row["layer"]): row for row in csv.DictReader(lines) if row["probe"] == "states"
        }
    for layer, row in alone.items():
        assert float(found["a_toy", "a_toy", layer]["value"]) == pytest.approx(
            float(row["auroc"]), abs=1e-9
        )
        assert float(found["a_toy", "a_toy", layer]["low"]) == pytest.approx(
            float(row["low"]), abs=1e-9
        )


def add_generations(store: ActStore, dataset: str, *, reverse: bool) -> ActStore:
    """Write the generations file of a folder: 60 questions, equal in every folder, here in the
    other order.
    """
    path = store.folder.with_suffix(".jsonl")
    numbers = list(range(60))
    lines = [
        {
            "problem": {
                "id": f"{dataset}/{number}",
                "question": f"What is  {59 - number if reverse else number}\n+ 1?",
            }
        }
        for number in numbers
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = store.folder / "manifest.json"
    content = json.loads(manifest.read_text())
    content["extra"]["generations"] = str(path)
    manifest.write_text(json.dumps(content))
    return ActStore(store.folder)


def test_a_problem_with_another_id_in_each_folder_is_on_one_side_in_both(tmp_path: Path) -> None:
    stores = [
        add_generations(make_acts(tmp_path, name=A), "toy", reverse=False),
        add_generations(
            make_acts(tmp_path, name=B, dataset="other", seed=1), "other", reverse=True
        ),
    ]
    same, split = same_problems(stores), Split(test_share=0.2, seed=0, folds=1)
    first, second = (
        read_table(store.rows, "reward", split, name="acts", same=ids)
        for store, ids in zip(stores, same, strict=True)
    )
    # Problem n of one folder is problem 59 - n of the other.
    held_out = [
        {table.problem_ids[number] for number in np.unique(table.problem[table.test])}
        for table in (first, second)
    ]
    trained = [
        {table.problem_ids[number] for number in np.unique(table.problem[table.train])}
        for table in (first, second)
    ]
    assert (
        held_out[0] == held_out[1] and not held_out[0] & trained[1] and not held_out[1] & trained[0]
    )
    rows = read_act_rows(stores[1])
    assert {
        59 - int(rows[index].problem.split("/")[1]) for index in np.flatnonzero(second.test)
    } == {
        int(read_act_rows(stores[0])[index].problem.split("/")[1])
        for index in np.flatnonzero(first.test)
    }


def test_equal_ids_or_equal_questions_make_one_problem_through_any_chain(tmp_path: Path) -> None:
    stores = [make_acts(tmp_path, name=name, problems=2) for name in (A, B, C)]
    known = [
        {"x/0": "one", "x/1": "two"},
        {"x/0": "one, reworded", "y/1": "three"},
        {"z/5": "one,   reworded", "z/6": "two"},
    ]
    for store, questions in zip(stores, known, strict=True):
        path = store.folder.with_suffix(".jsonl")
        path.write_text(
            "".join(
                json.dumps({"problem": {"id": i, "question": q}}) + "\n"
                for i, q in questions.items()
            )
        )
        store.info = msgspec.structs.replace(store.info, generations=str(path))
    assert same_problems(stores) == [
        {"x/0": "x/0", "x/1": "x/1"},
        {"x/0": "x/0", "y/1": "y/1"},
        {"z/5": "x/0", "z/6": "x/1"},
    ]


def test_folders_of_different_models_are_refused_in_one_line(tmp_path: Path) -> None:
    make_acts(tmp_path, name=A)
    path = make_acts(tmp_path, name=B).folder / "manifest.json"
    content = json.loads(path.read_text())
    for change, message in (
        ({"width": 9}, "9; they hold states of two models"),
        ({"prm": "other"}, "the prm of"),
    ):
        path.write_text(json.dumps({**content, "extra": {**content["extra"], **change}}))
        with pytest.raises(ConfigError, match=message):
            run(Config(ds_names=(A, B)), Settings(data_dir=tmp_path))
    with pytest.raises(ConfigError, match="at least two folders"):
        Config(ds_names=(A,))
    with pytest.raises(MissingInput, match="math-rm-x is not there"):
        run(Config(ds_names=(A, "math-rm-x")), Settings(data_dir=tmp_path))


def test_a_second_transfer_is_skipped_and_other_settings_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_acts(tmp_path, name=A)
    make_acts(tmp_path, name=B, seed=1)
    config, settings = Config(ds_names=(A, B), layers="1-2"), Settings(data_dir=tmp_path)
    run(config, settings)
    first = capsys.readouterr().out
    run(config, settings)
    assert "best layer" in first and capsys.readouterr().out == ""
    with pytest.raises(ConfigError, match="other settings"):
        run(Config(ds_names=(A, B), layers="1"), settings)


@pytest.mark.parametrize("target", ["reward", "correct"])
def test_saved_probes_predict_the_rows_of_another_folder(tmp_path: Path, target: str) -> None:
    make_acts(tmp_path, name=A)
    other, settings = make_acts(tmp_path, name=B, seed=1), Settings(data_dir=tmp_path)
    train_linreg.run(train_linreg.Config(ds_name=A, target=target), settings)
    out = probe_predict.run(
        probe_predict.Config(ds_name=B, probes=f"{A}/linreg/{target}", layers="1-2"), settings
    )
    assert out == tmp_path / B / "predictions" / f"{A}_{target}.csv"
    with out.open() as lines:
        table = list(csv.DictReader(lines))
    rows = read_act_rows(other)
    assert [(row["problem"], int(row["token"])) for row in table] == [
        (row.problem, row.token) for row in rows
    ]
    assert list(table[0])[-2:] == ["layer_01", "layer_02"]
    ends = np.array([row.is_step_end for row in rows])
    if target == "reward":
        predicted = np.array([float(row["layer_02"]) for row in table])
        np.testing.assert_allclose(
            predicted[ends], [row.reward for row in rows if row.is_step_end], atol=1e-3
        )
    else:
        chance = np.array([float(row["layer_01"]) for row in table])
        assert np.all((chance >= 0) & (chance <= 1))
        assert (
            np.mean((chance[ends] > 0.5) == [row.correct for row in rows if row.is_step_end]) > 0.95
        )


def test_predicting_with_what_is_no_probe_says_so(tmp_path: Path) -> None:
    make_acts(tmp_path, name=A)
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(MissingInput, match=r"train-linreg"):
        probe_predict.run(probe_predict.Config(ds_name=A, probes=A), settings)
    with pytest.raises(MissingInput, match="invoke train-linreg"):
        probe_predict.run(probe_predict.Config(ds_name=A, probes=f"{A}/linreg/reward"), settings)
