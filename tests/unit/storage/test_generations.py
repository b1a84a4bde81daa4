"""A generations file is checked as it is read: each mistake is one line with file, line and
field.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewardscope.errors import BadRecord
from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.storage.jsonl import read_solved, write_solved

Row = dict[str, Any]
NEWER = "the file may come from a newer version of rewardscope"


def row(index: int = 0) -> Row:
    """Return a row as files of the first version have it, without optional fields of later ones."""
    trace = {
        "problem_id": f"p/{index}",
        "index": 0,
        "steps": ["a", "b"],
        "scores": [0.5, 1],
        "finish": "eos",
        "n_tokens": 2,
        "answer": None,
        "correct": None,
    }
    problem = {"id": f"p/{index}", "dataset": "p", "question": "Q?", "answer": "1"}
    return {
        "problem": problem,
        "traces": [trace, {**trace, "index": 1}],
        "chosen": 0,
        "cost": {"policy_tokens": 2, "prm_tokens": 3, "seconds": 0.5},
    }


def write(path: Path, *lines: str | Row) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def put(place: str, value: Any) -> Callable[[Row], None]:
    """Return a function that sets what lies at a place such as `traces 1 steps`."""

    def change(row: Row) -> None:
        *outer, last = [int(part) if part.isdigit() else part for part in place.split()]
        for part in outer:
            row = row[part]
        row[last] = value

    return change


def drop(place: str, field: str) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        for part in place.split():
            row = row[int(part) if part.isdigit() else part]
        del row[field]

    return change


WRONG: dict[str, tuple[Callable[[Row], None], str]] = {
    "verdict as text": (
        put("traces 0 correct", "no"),
        "traces[0].correct: Expected bool | null, got str",
    ),
    "verdict as number": (
        put("traces 0 correct", 1),
        "traces[0].correct: Expected bool | null, got int",
    ),
    "published as text": (
        put("traces 1 published", "true"),
        "traces[1].published: Expected bool | null, got str",
    ),
    "steps as text": (put("traces 0 steps", "a b"), "traces[0].steps: Expected array, got str"),
    "a step as number": (put("traces 0 steps 1", 3), "traces[0].steps[1]: Expected str, got int"),
    "no steps": (drop("traces 0", "steps"), "traces[0]: Object missing required field steps"),
    "score as text": (
        put("traces 0 scores 1", "0.5"),
        "traces[0].scores[1]: Expected float, got str",
    ),
    "score null": (put("traces 0 scores 0", None), "traces[0].scores[0]: Expected float, got null"),
    "scores as number": (
        put("traces 0 scores", 0.5),
        "traces[0].scores: Expected array | null, got float",
    ),
    "too few scores": (put("traces 0 scores", [0.5]), "trace 0 of p/1: 1 scores for 2 steps"),
    "finish unknown": (put("traces 0 finish", "end"), "traces[0].finish: Invalid enum value 'end'"),
    "finish null": (put("traces 0 finish", None), "traces[0].finish: Expected str, got null"),
    "index as text": (put("traces 0 index", "0"), "traces[0].index: Expected int, got str"),
    "index as fraction": (put("traces 0 index", 0.5), "traces[0].index: Expected int, got float"),
    "index as verdict": (put("traces 0 index", True), "traces[0].index: Expected int, got bool"),
    "tokens as text": (
        put("traces 0 n_tokens", "9"),
        "traces[0].n_tokens: Expected int | null, got str",
    ),
    "answer as number": (
        put("traces 0 answer", 5),
        "traces[0].answer: Expected str | null, got int",
    ),
    "reward as text": (
        put("traces 0 reward", "high"),
        "traces[0].reward: Expected float | null, got str",
    ),
    "thinking null": (put("traces 0 thinking", None), "traces[0].thinking: Expected str, got null"),
    "thinking steps": (put("traces 0 n_thinking", 3), "trace 0 of p/1: 3 thinking steps of 2"),
    "token id as text": (
        put("traces 0 token_ids", [1, "2"]),
        "traces[0].token_ids[1]: Expected int, got str",
    ),
    "token ids too few": (
        put("traces 0 token_ids", [1]),
        "trace 0 of p/1: 1 token ids, n_tokens is 2",
    ),
    "delimiter empty": (put("traces 0 delimiter", ""), "trace 0 of p/1: the delimiter is empty"),
    "label as number": (
        put("traces 0 labels", [True, 0]),
        "traces[0].labels[1]: Expected bool | null, got int",
    ),
    "too few labels": (put("traces 0 labels", [True]), "trace 0 of p/1: 1 labels for 2 steps"),
    "trace as list": (put("traces 1", []), "traces[1]: Expected object, got array"),
    "traces as object": (put("traces", {}), "traces: Expected array, got object"),
    "no trace": (put("traces", []), "problem p/1: chosen 0 of 0 traces"),
    "two traces of one index": (put("traces 1 index", 0), "problem p/1: two traces have index 0"),
    "trace of another problem": (
        put("traces 1 problem_id", "p/7"),
        "problem p/1: a trace is of problem p/7",
    ),
    "chosen out of range": (put("chosen", 2), "problem p/1: chosen 2 of 2 traces"),
    "chosen negative": (put("chosen", -1), "problem p/1: chosen -1 of 2 traces"),
    "chosen as text": (put("chosen", "0"), "chosen: Expected int, got str"),
    "problem as text": (put("problem", "p/1"), "problem: Expected object, got str"),
    "no problem": (drop("", "problem"), "Object missing required field problem"),
    "question null": (put("problem question", None), "problem.question: Expected str, got null"),
    "question empty": (put("problem question", " "), "problem p/1: the question is empty"),
    "gold as number": (put("problem answer", 5), "problem.answer: Expected str, got int"),
    "tolerance as text": (
        put("problem tolerance", "1"),
        "problem.tolerance: Expected float | null, got str",
    ),
    "cost as number": (put("cost", 5), "cost: Expected object, got int"),
    "seconds as text": (put("cost seconds", "1 s"), "cost.seconds: Expected float, got str"),
    "one unknown field": (put("traces 0 mood", "good"), f"unknown field traces[0].mood; {NEWER}"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_field_is_one_line_with_file_line_and_field(tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    wrong = row(1)
    change(wrong)
    path = write(tmp_path / "x.jsonl", row(0), "", wrong, row(2))
    with pytest.raises(BadRecord) as caught:
        read_solved(path)
    assert str(caught.value) == f"{path} line 3: {message}"


def test_all_unknown_fields_are_named(tmp_path: Path) -> None:
    wrong = row()
    wrong["traces"][1]["mood"], wrong["cost"]["euros"], wrong["version"] = "good", 3, 2
    path = write(tmp_path / "x.jsonl", wrong)
    with pytest.raises(BadRecord) as caught:
        read_solved(path)
    line = str(caught.value)
    assert line.startswith(f"{path} line 1: unknown fields ") and line.endswith(NEWER)
    assert all(field in line for field in ("traces[1].mood", "cost.euros", "version"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "not JSON"),
        ("Infinity", "not JSON"),
        ("1e999", r"traces\[0\].scores\[0\]: Number out of range"),
    ],
)
def test_what_is_no_finite_number_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "x.jsonl", json.dumps(row()).replace("0.5, 1]", f"{text}, 1]", 1))
    with pytest.raises(BadRecord, match=f"line 1: {message}"):
        read_solved(path)


@pytest.mark.parametrize("line", ['{"problem": 1', "[1]", "null", "1", '{"a": 1} x', "\x00"])
def test_a_line_that_is_no_row_is_one_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(BadRecord, match=r"x\.jsonl line 2: ") as caught:
        read_solved(write(tmp_path / "x.jsonl", row(), line))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(json.dumps(row()).encode().replace(b'"Q?"', b'"\xff"'))
    with pytest.raises(BadRecord, match=r"x\.jsonl line 1: byte \d+, 0xff, is not UTF-8"):
        read_solved(path)


def test_a_problem_that_comes_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", row(0), row(1), row(0))
    with pytest.raises(BadRecord, match="line 3: problem p/0 is in line 1 already"):
        read_solved(path)


def test_a_file_of_an_older_version_is_read_and_takes_the_defaults(tmp_path: Path) -> None:
    (solved,) = read_solved(write(tmp_path / "x.jsonl", row()))
    trace = solved.traces[0]
    assert trace.scores == (0.5, 1.0) and solved.cost.prm_flops == 0
    assert (trace.token_ids, trace.delimiter, trace.labels) == (None, "\n\n", None)
    assert (solved.problem.tolerance, trace.published, trace.n_thinking) == (None, None, 0)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    trace = Trace(
        problem_id="p/0",
        index=3,
        steps=("a 数", "b\u2028"),
        scores=(0.1, 1 / 3),
        finish="length",
        n_tokens=3,
        delimiter="\n",
        labels=(True, None),
        token_ids=(5, 0, 151_000),
    )
    problem = Problem(id="p/0", dataset="p", question="Q", answer="", tolerance=0.5)
    solved = SolvedProblem(problem=problem, traces=(trace,), chosen=0)
    path = tmp_path / "x.jsonl"
    assert write_solved(path, [solved]) == 1 and read_solved(path) == [solved]
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(solved.to_dict()))


def test_a_number_that_is_not_finite_is_never_written() -> None:
    given = copy.deepcopy(row())["traces"][0]
    given["steps"] = tuple(given["steps"])
    for field in ({"scores": (float("nan"), 0.5)}, {"reward": float("inf")}):
        with pytest.raises(BadRecord, match="not finite"):
            Trace(**{**given, **field})
