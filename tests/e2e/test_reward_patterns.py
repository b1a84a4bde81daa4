"""reward-patterns on folders and generations files made by hand."""

import csv
import json
from pathlib import Path

import pytest

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.settings import Settings
from rewardscope.stages.reward_patterns import Config, run
from rewardscope.storage.files import write_json
from rewardscope.storage.jsonl import write_rows

PROBLEMS = 30


def make_folder(
    data: Path,
    name: str,
    *,
    fall: float,
    beyond: int = 0,
    all_tokens: bool = False,
    scored: bool = True,
) -> None:
    """Write what save-acts writes of traces of 4 steps of 10 tokens after a prompt of 5: scores
    fall by `fall` a step where wrong.

    The first trace of each of the first `beyond` problems leaves the window at its last step.
    """
    folder, rows, sequences = data / f"math-rm-{name}", [], []
    for problem in range(PROBLEMS):
        for trace in range(2):
            right = (problem + trace) % 2 == 0
            scores = [0.9 if right else 0.9 - fall * step - problem / 1000 for step in range(4)]
            ends = [14, 24, 34, 44]
            for token in range(5, 45) if all_tokens else ends:
                is_end = token in ends
                inside = not (problem < beyond and trace == 0 and token > 34)
                rows.append(
                    {
                        "problem": f"toy/{problem}",
                        "trace": trace,
                        "step": (token - 5) // 10,
                        "token": token,
                        "token_id": 1,
                        "is_step_end": is_end,
                        "reward": scores[(token - 5) // 10] if is_end else None,
                        "correct": right,
                        "dataset": "toy",
                        "in_window": inside,
                        "text_start": 0,
                    }
                )
            sequences.append(
                {
                    "problem": f"toy/{problem}",
                    "trace": trace,
                    "tokens": ["x"] * 45,
                    "step_ends": ends,
                    "scores": scores if scored else [],
                }
                | {"correct": right}
            )
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "sequences.jsonl", sequences)
    extra = {"layers": [0], "width": 4}
    write_json(
        folder / "manifest.json",
        {"stage": "save-acts", "settings": {}, "outputs": {}, "rows": len(rows), "extra": extra},
    )


def patterns(out: Path) -> list[dict[str, str]]:
    with (out / "patterns.csv").open() as lines:
        return list(csv.DictReader(lines))


def test_the_fall_along_wrong_traces_is_found_by_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path, "steep_toy", fall=0.2)
    make_folder(tmp_path, "flat_toy", fall=0.0)
    out = run(
        Config(ds_names=("math-rm-steep_toy", "math-rm-flat_toy"), bins=4),
        Settings(data_dir=tmp_path),
    )
    assert out == tmp_path / "reward-patterns" / "steep_toy+flat_toy"
    means = {
        (row["policy"], row["answer"]): [
            float(other["mean"]) for other in patterns(out) if same(row, other)
        ]
        for row in patterns(out)
        if row["by"] == "position"
    }
    shared = sum(range(PROBLEMS)) / PROBLEMS / 1000
    assert means["steep_toy", "wrong"] == pytest.approx(
        [0.9 - 0.2 * step - shared for step in range(4)]
    )
    assert means["flat_toy", "wrong"] == pytest.approx([0.9 - shared] * 4)
    assert means["steep_toy", "right"] == pytest.approx([0.9] * 4)
    report = json.loads((out / "report.json").read_text())
    bias = {
        (row["policy"], row["answer"], row["against"]): row["spearman"] for row in report["bias"]
    }
    assert bias["steep_toy", "wrong", "position"]["value"] < -0.95
    assert bias["flat_toy", "wrong", "position"]["value"] == pytest.approx(0, abs=1e-9)
    assert ("flat_toy", "right", "position") not in bias  # all scores are 0.9
    assert "Spearman" in capsys.readouterr().out


def same(row: dict[str, str], other: dict[str, str]) -> bool:
    return all(row[field] == other[field] for field in ("policy", "window", "answer", "by"))


def test_scores_are_judged_as_forecasts_of_the_answer(tmp_path: Path) -> None:
    make_folder(tmp_path, "steep_toy", fall=0.2)
    report = json.loads(
        (
            run(Config(ds_names=("math-rm-steep_toy",)), Settings(data_dir=tmp_path))
            / "report.json"
        ).read_text()
    )
    found = {row["forecast"]: row for row in report["calibration"]}
    assert set(found) == {"each step", "last", "min", "mean", "prod"}
    # last step; right traces have 0.9
    wrong = [0.3 - problem / 1000 for problem in range(PROBLEMS)]
    assert found["last"]["rows"] == 2 * PROBLEMS and found["last"]["share_right"] == 0.5
    assert found["last"]["brier"]["value"] == pytest.approx(
        (0.1**2 + sum(w**2 for w in wrong) / PROBLEMS) / 2
    )
    assert found["last"]["ece"]["value"] == pytest.approx((0.1 + sum(wrong) / PROBLEMS) / 2)
    assert found["last"]["auroc"]["value"] == 1
    assert found["each step"]["rows"] == 8 * PROBLEMS and found["each step"]["auroc"]["value"] < 1


def test_traces_beyond_the_window_stand_apart(tmp_path: Path) -> None:
    make_folder(tmp_path, "long_toy", fall=0.2, beyond=10)
    out = run(Config(ds_names=("math-rm-long_toy",)), Settings(data_dir=tmp_path))
    counts = {row["window"]: row for row in json.loads((out / "report.json").read_text())["counts"]}
    assert (counts["beyond"]["traces"], counts["inside"]["traces"]) == (10, 2 * PROBLEMS - 10)
    assert {row["window"] for row in patterns(out)} == {"inside", "beyond"}


@pytest.mark.parametrize(("all_tokens", "steps"), [(True, 4), (False, 3)])
def test_the_first_step_has_a_length_only_where_its_tokens_were_kept(
    tmp_path: Path, all_tokens: bool, steps: int
) -> None:
    make_folder(tmp_path, "toy", fall=0.2, all_tokens=all_tokens)
    out = run(Config(ds_names=("math-rm-toy",)), Settings(data_dir=tmp_path))
    lengths = [row for row in patterns(out) if row["by"] == "step length"]
    assert sum(int(row["n_steps"]) for row in lengths) == steps * 2 * PROBLEMS
    assert all(float(row["start"]) == 10 for row in lengths)


@pytest.mark.parametrize(
    ("positions", "lengths"), [("sample", [20, 30]), ("all-tokens", [7, 20, 30])]
)
def test_a_sample_of_tokens_says_no_length_of_a_first_step_and_no_window(
    tmp_path: Path, positions: str, lengths: list[int]
) -> None:
    # steps of 7, 20 and 30 tokens after a prompt of 5; a sample of three tokens that happen to be
    # one after the other, all within the window of 40, which the trace leaves
    ends, folder = [11, 31, 61], tmp_path / "math-rm-toy"
    tokens = [9, 10, 11] if positions == "sample" else list(range(5, 62))
    rows, sequences = [], []
    for problem in range(12):
        name = {"problem": f"toy/{problem}", "trace": 0, "correct": problem % 2 == 0}
        rows += [
            {
                **name,
                "step": sum(end < token for end in ends),
                "token": token,
                "token_id": 1,
                "is_step_end": token in ends,
                "reward": 0.5 if token in ends else None,
                "in_window": token < 40,
            }
            for token in tokens
        ]
        scores = [0.2, 0.4, 0.6]
        sequences.append({**name, "tokens": ["x"] * 62, "step_ends": ends, "scores": scores})
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "sequences.jsonl", sequences)
    extra = {"layers": [0], "width": 4, "positions": positions, "window": 40}
    manifest = {"stage": "save-acts", "settings": {}, "outputs": {}, "rows": len(rows)}
    write_json(folder / "manifest.json", manifest | {"extra": extra})
    out = run(Config(ds_names=("math-rm-toy",)), Settings(data_dir=tmp_path))
    found = {float(row["start"]) for row in patterns(out) if row["by"] == "step length"}
    assert sorted(found) == lengths
    assert {row["window"] for row in patterns(out)} == {"beyond"}


def make_generations(path: Path, *, scored: bool) -> None:
    rows = []
    for number in range(10):
        problem = Problem(id=f"toy/{number}", dataset="toy", question="?", answer="1")
        trace = Trace(
            problem_id=problem.id,
            index=0,
            steps=("ab", "cdef"),
            scores=(0.5, 0.9) if scored else None,
            finish="eos",
            n_tokens=4,
            correct=number % 2 == 0,
            in_window=number < 8 if scored else None,
        )
        rows.append(SolvedProblem(problem=problem, traces=(trace,), chosen=0).to_dict())
    write_rows(path, rows)


def test_generations_with_scores_are_read_too_with_lengths_in_characters(tmp_path: Path) -> None:
    make_generations(tmp_path / "p_toy.jsonl", scored=True)
    out = run(Config(ds_names=("p_toy",)), Settings(data_dir=tmp_path))
    report = json.loads((out / "report.json").read_text())
    assert report["step_length_unit"] == "characters"
    assert [(row["window"], row["traces"]) for row in report["counts"]] == [
        ("inside", 8),
        ("beyond", 2),
    ]
    assert {
        (float(row["start"]), float(row["mean"]))
        for row in patterns(out)
        if row["by"] == "step length"
    } == {(2, 0.5), (4, 0.9)}


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    make_folder(tmp_path, "toy", fall=0.1)
    make_folder(tmp_path, "bare", fall=0.1, scored=False)
    make_generations(tmp_path / "alone.jsonl", scored=False)
    make_generations(tmp_path / "guided.jsonl", scored=True)
    for names, kind, message in (
        (("math-rm-bare",), MissingInput, "none of 60 traces has scores"),
        (("alone",), MissingInput, "none of 10 traces has scores"),
        (("nothing",), MissingInput, "nothing is not there"),
        (("math-rm-toy", "guided"), ConfigError, "one kind only"),
    ):
        with pytest.raises(kind, match=message) as caught:
            run(Config(ds_names=names), settings)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="--bins 1"):
        Config(ds_names=("x",), bins=1)
