import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.statistics.effects import Place, join, measured_effect, over_seeds
from rewardscope.storage.effect_files import read_effects, values_file, write_effects

HEAD = Place("head 3", "head.2.3", "step end")
OTHER = Place("head 4", "head.2.4", "step end")


def effect(values, *, method="zero", place=HEAD, seed=0):
    return measured_effect(place, values, method=method, seed=seed)


def by_problem(values):
    return {f"toy/{number}": float(value) for number, value in enumerate(values)}


def test_effects_come_back_from_their_files_with_the_value_of_each_problem(tmp_path):
    rng = np.random.default_rng(0)
    effects = [
        effect(by_problem(rng.normal(size=12))),
        effect(by_problem([0.5, -1.0]), place=OTHER, seed=3),
    ]
    files = write_effects(tmp_path / "effects.csv", effects)
    assert [file.name for file in files] == ["effects.csv", "effects.parquet"]
    assert read_effects(tmp_path / "effects.csv") == effects
    assert effects[1].estimate.low is None  # of two problems


def test_any_parquet_reader_finds_the_values(tmp_path):
    files = write_effects(tmp_path / "effects.csv", [effect(by_problem([1, 2])), effect({"a": 3})])
    table = pd.read_parquet(files[1])
    assert table["effect"].tolist() == [0, 0, 1]
    assert table["problem"].tolist() == ["toy/0", "toy/1", "a"]
    assert table["value"].tolist() == [1, 2, 3]


def test_a_join_is_the_paired_difference_over_the_problems_of_both():
    rng = np.random.default_rng(1)
    difficulty, gain = rng.normal(0, 50, size=40), rng.normal(1, 0.5, size=40)
    first = by_problem(difficulty + gain)
    second = by_problem(difficulty) | {"only here": 1000.0}
    (found,) = join([effect(first)], [effect(second, method="mean")], seed=0)
    low, high = stats.ttest_1samp(gain, 0).confidence_interval()
    assert found.place == HEAD and found.left_out == 1 and found.difference.n == 40
    assert found.difference.value == pytest.approx(gain.mean())
    assert found.difference.low == pytest.approx(low, abs=0.05)
    assert found.difference.high == pytest.approx(high, abs=0.05)


def test_a_problem_of_more_seeds_counts_no_more_than_another():
    seeds = [effect({"a": 1.0, "b": 10.0}), effect({"a": 3.0}, seed=1)]
    assert over_seeds(seeds) == {"a": 2.0, "b": 10.0}
    (found,) = join(seeds, [effect({"a": 0.0, "b": 0.0})], seed=0)
    assert found.difference.value == 6.0


def test_what_has_nothing_in_common_is_one_line():
    with pytest.raises(BadRecord, match="no effect at the same component"):
        join([effect({"a": 1.0})], [effect({"a": 1.0}, place=OTHER)], seed=0)
    with pytest.raises(BadRecord, match="head 3 by zero and mean have no problem in common"):
        join([effect({"a": 1.0})], [effect({"b": 1.0}, method="mean")], seed=0)


@pytest.mark.parametrize(
    ("values", "said"), [({}, "no problem has a value"), ({"a": float("nan")}, "nan for a")]
)
def test_values_that_are_no_numbers_are_refused(values, said):
    with pytest.raises(BadRecord, match=said):
        effect(values)


def test_a_table_and_values_that_do_not_belong_together_are_refused(tmp_path):
    table = tmp_path / "effects.csv"
    write_effects(table, [effect(by_problem([1, 2]))])
    write_effects(tmp_path / "longer.csv", [effect(by_problem([1, 2, 3])), effect({"a": 1.0})])
    values_file(tmp_path / "longer.csv").replace(values_file(table))
    with pytest.raises(BadRecord, match=r"values of effect 1, but .* has 1"):
        read_effects(table)
    write_effects(tmp_path / "longer.csv", [effect(by_problem([1, 2, 3]))])
    values_file(tmp_path / "longer.csv").replace(values_file(table))
    with pytest.raises(BadRecord, match=r"3 problems of effect 0, but .* says 2; make the table"):
        read_effects(table)
    values_file(table).write_bytes(b"PAR1 no more")
    with pytest.raises(BadRecord, match=r"effects.parquet is damaged .* make the table anew"):
        read_effects(table)
    values_file(table).unlink()
    with pytest.raises(MissingInput, match=r"effects.parquet is not there; make the table anew"):
        read_effects(table)
