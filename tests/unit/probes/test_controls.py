"""Controls on tables made by hand: what they read, and what they must not."""

import json
from pathlib import Path

import numpy as np
import pytest

from rewardscope.probes.controls import (
    fit_columns,
    position_columns,
    shuffle_targets,
    token_columns,
)
from rewardscope.probes.scores import r2
from rewardscope.probes.step_places import StepPlaces, step_places
from rewardscope.probes.table import Table
from rewardscope.storage.acts import ActStore
from rewardscope.storage.sequences import ActSequence
from tests.act_files import ActRow, as_table, write_act_rows

STEPS = 5


def make_table(*, problems: int = 40, traces: int = 2, tokens_a_step: int = 10) -> Table:
    """Return a table of step ends of traces with 2 to 5 steps; every fifth problem is held out;
    targets are noise.
    """
    rng, rows, n_traces = np.random.default_rng(0), [], 0
    for problem in range(problems):
        for _ in range(traces):
            token = 30
            for step in range(int(rng.integers(2, STEPS + 1))):
                token += int(rng.integers(1, tokens_a_step + 1))
                rows.append((problem, n_traces, step, token))
            n_traces += 1
    problem, trace, step, token = np.array(rows, dtype=np.int32).T
    test = problem % 5 == 0
    return Table(
        "toy",
        "reward",
        False,
        [f"p/{number}" for number in range(problems)],
        rng.normal(size=len(rows)),
        problem,
        n_traces,
        trace,
        step,
        token,
        token_id=np.full(len(rows), 7, dtype=np.int32),
        test=test,
        fold=np.where(test, -1, problem % 3).astype(np.int8),
        n_folds=3,
    )


def explained(table: Table, columns: list) -> float:
    _, predicted = fit_columns(columns, table, penalties=(1e-3, 0.1, 10.0, 1e3))
    return r2(table.value[table.test], predicted)


@pytest.mark.parametrize(
    "target",
    [
        lambda t, n: np.sin(2.0 * t.step),
        lambda t, n: (t.step + 1) / n,
        lambda t, n: n == 3,
        lambda t, n: (t.token > 45) * 1.0,
        lambda t, n: t.step == n - 1,
    ],
    ids=["step, no line", "relative position", "number of steps", "token", "last step"],
)
def test_a_target_of_position_alone_is_predicted_from_position(target) -> None:
    table = make_table(problems=150)
    n_steps = np.array([table.step[table.trace == trace].max() + 1 for trace in table.trace])
    table = table._replace(value=np.asarray(target(table, n_steps), dtype=np.float64))
    assert explained(table, position_columns(table)) > 0.85


def test_the_length_of_a_step_is_read_from_the_ends_around_it() -> None:
    table = make_table(problems=150)
    length = np.diff(table.token, prepend=0).astype(np.float64)
    length[np.flatnonzero(np.diff(table.trace, prepend=-1))] = 0  # nothing is known of the first
    table = table._replace(value=length)
    assert explained(table, position_columns(table)) > 0.99


def sampled_steps(table: Table) -> tuple[Table, StepPlaces, np.ndarray, np.ndarray]:
    """Return a random third of the rows of a table, where the steps of their traces end, and of
    these rows the length of the trace in steps and of the step in tokens.
    """
    steps_of = [table.step[table.trace == trace] for trace in range(table.n_traces)]
    ends = [table.token[table.trace == trace].tolist() for trace in range(table.n_traces)]
    n_steps = np.array([len(steps_of[trace]) for trace in table.trace])
    length = np.diff(table.token, prepend=0)
    length[np.flatnonzero(np.diff(table.trace, prepend=-1))] = 0  # nothing is known of the first
    kept = np.flatnonzero(np.random.default_rng(5).random(len(table.step)) < 1 / 3)
    columns = ("value", "problem", "trace", "step", "token", "token_id", "test", "fold")
    few = table._replace(**{name: getattr(table, name)[kept] for name in columns})
    rows = [
        ActRow(f"p/{trace // 2}", trace % 2, step, token, 7, True, None, None)
        for trace, step, token in zip(few.trace, few.step, few.token, strict=True)
    ]
    sequences = [
        ActSequence(problem=f"p/{number // 2}", trace=number % 2) for number in range(len(ends))
    ]
    return few, step_places(as_table(rows, sequences), ends), n_steps[kept], length[kept]


@pytest.mark.parametrize("what", ["number of steps", "length of the step"])
def test_where_few_step_ends_were_kept_position_is_that_of_the_whole_trace(what: str) -> None:
    table, places, n_steps, length = sampled_steps(make_table(problems=400))
    value = n_steps == 3 if what == "number of steps" else length
    table = table._replace(value=np.asarray(value, dtype=np.float64))
    assert explained(table, position_columns(table, places)) > 0.95
    assert explained(table, position_columns(table)) < 0.8  # the kept rows do not say it


def test_noise_is_not_predicted_from_position() -> None:
    table = make_table(problems=150)
    assert explained(table, position_columns(table)) < 0.05


def test_shuffled_targets_are_whole_traces_of_other_problems_and_test_rows_keep_theirs() -> None:
    table = make_table()
    # a target tells whose it was, and of which step
    table = table._replace(value=table.problem + table.step / 10)
    shuffled = shuffle_targets(table, seed=0, times=2)[:, 1]
    assert np.array_equal(shuffled[table.test], table.value[table.test])
    for trace in np.unique(table.trace[table.train]):
        rows = np.flatnonzero(table.trace == trace)
        donors, steps = np.floor(shuffled[rows] + 1e-6), 10 * (shuffled[rows] % 1)
        assert len(set(donors)) == 1 and donors[0] != table.problem[rows[0]]
        assert donors[0] % 5 != 0  # never a problem that is held out
        assert np.all(np.diff(steps) >= -1e-6)  # the order of steps is kept
    given = {
        int(shuffled[np.flatnonzero(table.problem == problem)[0]] + 1e-6)
        for problem in np.unique(table.problem[table.train])
    }
    assert len(given) == 32  # each problem gives once


def test_another_seed_shuffles_otherwise() -> None:
    table = make_table()
    assert np.array_equal(shuffle_targets(table, seed=1), shuffle_targets(table, seed=1))
    assert not np.array_equal(shuffle_targets(table, seed=1), shuffle_targets(table, seed=2))
    one, other = shuffle_targets(table, seed=1, times=2).T
    assert not np.array_equal(one, other)


def make_store(folder: Path, table: Table, texts: list[list[str]]) -> ActStore:
    """Write the rows of a table, and a sequence for each of its traces, of which there are two a
    problem.
    """
    manifest = {
        "stage": "save-acts",
        "settings": {},
        "outputs": {},
        "rows": len(table.step),
        "extra": {"layers": [0], "width": 1},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = [
        ActRow(
            problem=f"p/{problem}",
            trace=trace % 2,
            step=step,
            token=token,
            token_id=token_id,
            is_step_end=True,
            reward=None,
            correct=None,
        )
        for problem, trace, step, token, token_id in zip(
            table.problem, table.trace, table.step, table.token, table.token_id, strict=True
        )
    ]
    sequences = [
        ActSequence(problem=f"p/{number // 2}", trace=number % 2, tokens=tuple(tokens))
        for number, tokens in enumerate(texts)
    ]
    write_act_rows(folder, rows, sequences)
    return ActStore(folder)


def test_where_every_step_ends_in_one_token_the_token_before_tells_them_apart(
    tmp_path: Path,
) -> None:
    table, rng = make_table(problems=100), np.random.default_rng(1)
    texts = [
        [str(word) for word in rng.choice([".", "!", "so"], size=100)]
        for _ in range(table.n_traces)
    ]
    before = [texts[t][token - 1] for t, token in zip(table.trace, table.token, strict=True)]
    table = table._replace(
        value=np.array([{".": 0.1, "!": 0.9, "so": 0.3}[text] for text in before])
    )
    assert explained(table, token_columns(make_store(tmp_path, table, texts), table)) > 0.99
    # nothing but the end's own token is known
    assert explained(table, token_columns(make_store(tmp_path, table, []), table)) < 0.01


def test_rare_tokens_share_no_bin_with_frequent_ones(tmp_path: Path) -> None:
    table = make_table(problems=300)
    ids = np.arange(len(table.step), dtype=np.int32)  # each once, but for those of token 5
    ids[::2] = 5
    table = table._replace(token_id=ids, value=(ids == 5) * 1.0)
    own, _ = token_columns(make_store(tmp_path, table, []), table)
    assert own.n_codes == 256 and len(np.unique(own.code[ids[table.taken] == 5])) == 1
    assert explained(table, [own]) > 0.8
