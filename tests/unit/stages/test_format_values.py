"""How traces are written, counted by hand."""

import pytest

from rewardscope.records import Problem, SolvedProblem, Trace
from rewardscope.stages.format_values import format_table, of_format


def solved(number: int, *texts: tuple[str, ...]) -> SolvedProblem:
    problem = Problem(id=f"toy/{number}", dataset="toy", question="?", answer="")
    traces = tuple(
        Trace(
            problem_id=problem.id,
            index=index,
            steps=steps,
            scores=None,
            finish="eos",
            n_tokens=None,
        )
        for index, steps in enumerate(texts)
    )
    return SolvedProblem(problem=problem, traces=traces, chosen=0)


def test_a_problem_counts_once_however_many_traces_it_has():
    rows = [
        solved(0, (r"\boxed{1}", "- a"), ("**b**", "c", "d", "e")),
        solved(1, ("Wait, 12 — no",)),
    ]
    found = {name: e["value"] for name, e in of_format(rows, seed=0).items()}
    assert found["steps"] == pytest.approx((3 + 1) / 2)
    # 9 + 2 + 3 characters in 2 steps; 5 + 3 * (2 + 1) in 4; 13 in one
    assert found["characters_per_step"] == pytest.approx(((14 / 2 + 14 / 4) / 2 + 13) / 2)
    assert found["boxed"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["steps_with_markdown"] == pytest.approx(((1 / 2 + 1 / 4) / 2 + 0) / 2)
    # of "Wait, 12 — no": Wait; the dash; 12; three spaces
    last = {name: e["value"] for name, e in of_format(rows[1:], seed=0).items()}
    shares = {"metacognition": 4, "unicode": 1, "number": 2, "whitespace": 3, "punctuation": 1}
    for label, n in shares.items():
        assert last[f"text_{label}"] == pytest.approx(n / 13), label
    assert sum(value for name, value in last.items() if name.startswith("text_")) == (
        pytest.approx(1)
    )


def test_the_table_has_a_line_for_each():
    table = format_table(of_format([solved(0, ("a",))], seed=0)).splitlines()
    assert [line.split("  ")[0] for line in table[2:5]] == ["steps", "characters per step", "boxed"]
