"""What metrics says of costs, of the PRM's window, and of methods at equal compute, on files made
by hand.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rewardscope.errors import BadRecord
from rewardscope.records import Cost, Problem, SolvedProblem, Trace
from rewardscope.settings import Settings
from rewardscope.stages.metrics import Config, run
from rewardscope.storage.files import manifest_of, write_json
from rewardscope.storage.jsonl import write_rows
from rewardscope.storage.tables import read_json


def solved(
    index: int, answers: Sequence[str], scores: Sequence[float] | None = None, **cost: int
) -> SolvedProblem:
    problem = Problem(id=f"toy/{index}", dataset="toy", question="How many?", answer="1")
    traces = tuple(
        Trace(
            problem_id=problem.id,
            index=i,
            steps=("So.",),
            scores=None if scores is None else (scores[i],),
            finish="eos",
            n_tokens=5,
            answer=answer,
            in_window=None if scores is None else scores[i] < 0.85,
        )
        for i, answer in enumerate(answers)
    )
    return SolvedProblem(problem=problem, traces=traces, chosen=0, cost=Cost(**cost))


def write(path: Path, rows: Sequence[SolvedProblem], *, search: str | None = None) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    write_rows(path, [row.to_dict() for row in rows])
    if search:
        write_json(
            manifest_of(path),
            {"stage": "infer-with-prm", "settings": {"search": search}, "outputs": {}},
        )
    return str(path)


def measure(main: str, *others: str) -> dict[str, Any]:
    return read_json(
        run(Config(dataset=main, against=others), Settings(data_dir=Path(main).parent))
    )


SEARCHED = [
    solved(
        0,
        ["1", "2"],
        [0.9, 0.1],
        policy_flops=600,
        prm_flops=400,
        policy_tokens=12,
        prm_tokens=9,
        prm_forwards=3,
        policy_forwards=8,
    ),
    solved(
        1,
        ["2", "1"],
        [0.8, 0.2],
        policy_flops=600,
        prm_flops=400,
        policy_tokens=8,
        prm_tokens=11,
        prm_forwards=1,
        policy_forwards=4,
    ),
]
# Eight samples cost 2000: a vote over four costs 1000, as much as the search; the PRM's share comes
# on top of that.
SAMPLED = [
    solved(0, ["1"] * 8, [0.5] * 8, policy_flops=2000, prm_flops=2000),
    solved(1, ["1"] * 8, [0.5] * 8, policy_flops=2000, prm_flops=2000),
]


def test_the_cost_of_a_problem_is_the_mean_over_problems(tmp_path: Path) -> None:
    cost = measure(write(tmp_path / "toy.jsonl", SEARCHED))["cost"]
    assert {name: e["value"] for name, e in cost.items()} == {
        "policy_tokens": 10,
        "prm_tokens": 10,
        "policy_forwards": 6,
        "prm_forwards": 2,
        "policy_flops": 600,
        "prm_flops": 400,
    }


def test_traces_within_and_beyond_the_window_are_measured_apart(tmp_path: Path) -> None:
    windows = measure(write(tmp_path / "toy.jsonl", SEARCHED))["windows"]
    assert {
        name: (w["traces"], w["mean_accuracy"]["value"], w["mean_score"]["value"])
        for name, w in windows.items()
    } == {
        "within": (3, 0.25, pytest.approx((0.1 + 0.5) / 2)),
        "beyond": (1, 1.0, pytest.approx(0.9)),
    }


def test_each_method_gets_as_many_samples_as_the_search_could_have_paid(tmp_path: Path) -> None:
    main = write(tmp_path / "a_beam.jsonl", SEARCHED, search="beam")
    others = write(tmp_path / "a_bon.jsonl", SAMPLED, search="best-of-n")
    found = measure(main, others)["equal_compute"]
    assert found["budget_flops"] == 1000 and found["problems"] == 2
    points = {
        row["method"]: (
            row["k"],
            row["flops"],
            row["accuracy"]["value"],
            row["difference"]["value"],
        )
        for row in found["methods"]
    }
    assert points["a_beam: its answer"] == (2, 1000, 0.5, 0.0)
    assert points["a_bon: majority"] == (4, 1000, 1.0, 0.5)  # no PRM in it
    assert points["a_bon: best of k"] == points["a_bon: weighted vote"] == (2, 1000, 1.0, 0.5)
    # the votes of a search are paid for with all of it
    assert points["a_beam: majority"] == (2, 1000, 0.5, 0.0)


def test_every_budget_of_samples_stands_beside_the_one_of_a_search_and_of_greedy(
    tmp_path: Path,
) -> None:
    main = write(tmp_path / "a_beam.jsonl", SEARCHED, search="beam")
    mixed = [msgspec.structs.replace(row, traces=row.traces[:4]) for row in SAMPLED]
    samples = write(tmp_path / "a.jsonl", mixed)
    greedy = write(tmp_path / "a_greedy.jsonl", [solved(i, ["2"], policy_flops=7) for i in (0, 1)])
    manifest = {"stage": "infer", "settings": {}, "extra": {"temperature": 0.0}, "outputs": {}}
    write_json(manifest_of(Path(greedy)), manifest)
    found = measure(main, samples, greedy)["equal_compute"]["by_budget"]
    assert [
        (row["source"], row["made_by"], row["k"], row["flops"], row["accuracy"]["value"])
        for row in found
        if row["vote"] in ("answer", "majority")
    ] == [
        ("a_beam", "beam", 2, 1000, 0.5),
        ("a", "samples", 1, 500, 1.0),
        ("a", "samples", 2, 1000, 1.0),
        ("a", "samples", 4, 2000, 1.0),
        ("a_greedy", "greedy", 1, 7, 0.0),
    ]
    assert [row["flops"] for row in found if row["vote"] == "best_of"] == [1000, 2000, 4000]


def test_files_of_one_name_are_seeds_of_one_method(tmp_path: Path) -> None:
    main = write(tmp_path / "a_beam.jsonl", SEARCHED, search="beam")
    flipped = [msgspec.structs.replace(row, chosen=1) for row in SEARCHED]
    second = write(tmp_path / "seed1" / "a_beam.jsonl", flipped, search="beam")
    row, *_ = measure(main, second)["equal_compute"]["methods"]
    assert (
        row["method"] == "a_beam: its answer"
        and row["accuracy"]["value"] == 0.5
        and row["accuracy"]["n"] == 2
    )
    # each problem is right for one seed and wrong for the other: nothing varies over problems
    assert (row["accuracy"]["low"], row["accuracy"]["high"]) == (None, None)


def test_samples_of_a_seed_that_drew_more_cost_no_more_each(tmp_path: Path) -> None:
    main = write(tmp_path / "a_beam.jsonl", SEARCHED, search="beam")
    # 100 operations a sample, in both: 2 samples cost 200 of the beam's 1000, whichever file gives
    # them.
    few, many = (
        write(
            tmp_path / seed / "a.jsonl",
            [solved(i, ["1", "2"] * (n // 2), policy_flops=100 * n) for i in range(2)],
        )
        for seed, n in (("seed0", 2), ("seed1", 8))
    )
    votes = {row["method"]: row for row in measure(main, few, many)["equal_compute"]["methods"]}
    assert votes["a: majority"]["k"] == 2
    assert votes["a: majority"]["share_of_budget"] == pytest.approx(0.2)


def test_problems_that_only_one_file_has_are_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [*SEARCHED, *(solved(i, ["1"], [0.5], policy_flops=5, prm_flops=5) for i in (7, 8, 9))]
    main = write(tmp_path / "a_beam.jsonl", more, search="beam")
    other = write(tmp_path / "a_bon.jsonl", [*SAMPLED, solved(20, ["1"] * 8)], search="best-of-n")
    found = measure(main, other)["equal_compute"]
    assert found["problems"] == 2 and found["left_out"] == {main: 3, other: 1}
    printed = capsys.readouterr().out
    assert f"only the 2 problems that all files have count; left out: 3 of {main}, 1 of" in printed
    measure(write(tmp_path / "b_beam.jsonl", SEARCHED, search="beam"), other)
    assert f"left out: 0 of {tmp_path / 'b_beam.jsonl'}, 1 of {other}" in capsys.readouterr().out


def test_samples_of_seeds_cost_what_those_of_each_file_do(tmp_path: Path) -> None:
    # 4 samples for 400 and 16 for 640: 4 of each cost 400 and 160, 0.28 of the beam's 1000
    main = write(tmp_path / "a_beam.jsonl", SEARCHED, search="beam")
    seeds = [
        write(
            tmp_path / f"seed{n}" / "a.jsonl",
            [solved(i, ["1"] * n, policy_flops=flops) for i in range(2)],
        )
        for n, flops in ((4, 400), (16, 640))
    ]
    votes = {row["method"]: row for row in measure(main, *seeds)["equal_compute"]["methods"]}
    assert votes["a: majority"]["k"] == 4
    assert votes["a: majority"]["share_of_budget"] == pytest.approx(0.28)


def test_files_without_a_common_problem_or_without_operations_are_refused(tmp_path: Path) -> None:
    main = write(tmp_path / "a.jsonl", SEARCHED)
    with pytest.raises(BadRecord, match="no problem in common"):
        measure(main, write(tmp_path / "b.jsonl", [solved(7, ["1"], policy_flops=5)]))
    with pytest.raises(BadRecord, match=r"c\.jsonl has no operations"):
        measure(main, write(tmp_path / "c.jsonl", [solved(0, ["1"])]))
