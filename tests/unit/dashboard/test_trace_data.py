from pathlib import Path

import msgspec

from rewardscope.dashboard.trace_data import PIECE, Source, Traces, choose_problems
from rewardscope.records import Problem, SolvedProblem, Trace
from tests.unit.features.firings import data_set


def solved(name: str, texts: list[tuple[str, ...]], score: float | None) -> SolvedProblem:
    traces = tuple(
        Trace(
            problem_id=name,
            index=index,
            steps=steps,
            scores=None if score is None else (score,) * len(steps),
            finish="eos",
            n_tokens=None,
            correct=index == 0,
        )
        for index, steps in enumerate(texts)
    )
    problem = Problem(id=name, dataset="d", question=f"What of {name}?", answer="7")
    return SolvedProblem(problem=problem, traces=traces, chosen=0)


def test_a_trace_that_two_files_hold_is_shown_once_with_both_scores() -> None:
    traces = Traces(["d/1"])
    first, second = (Source(name, name, f"prm-{name}") for name in ("a", "b"))
    traces.add_solved(0, first, solved("d/1", [("x", "y"), ("z",)], 0.2))
    traces.add_solved(1, second, solved("d/1", [("z",), ("u",)], 0.9))
    shown = traces.problems["d/1"].traces
    assert [trace.steps for trace in shown] == [["x", "y"], ["z"], ["u"]]
    assert [[(s.source, s.values[0]) for s in trace.scores] for trace in shown] == [
        [(0, 0.2)],
        [(0, 0.2), (1, 0.9)],
        [(1, 0.9)],
    ]
    assert traces.problems["d/1"].question == "What of d/1?"


def test_scores_of_several_prms_of_one_file_stand_beside_each_other() -> None:
    one = solved("d/1", [("x", "y")], 0.2)
    trace = msgspec.structs.replace(one.traces[0], scores_by={"a": (0.5, 0.25), "b": (1.0, 0.0)})
    traces = Traces(["d/1"])
    traces.add_solved(0, Source("f", "f", None), msgspec.structs.replace(one, traces=(trace,)))
    (shown,) = traces.problems["d/1"].traces
    assert [(s.name, s.values) for s in shown.scores] == [
        ("", [0.2, 0.2]),
        ("a", [0.5, 0.25]),
        ("b", [1.0, 0.0]),
    ]


def test_states_and_the_file_they_were_made_from_are_one_trace(tmp_path: Path) -> None:
    data = data_set(tmp_path / "acts")
    sequence = next(iter(data.store.sequences))
    traces = Traces([sequence.problem])
    lines = traces.add_states(0, Source("acts", "solutions", "p", 0), data)
    assert len(lines) == 2
    steps = tuple(f"step {i}" for i in range(len(sequence.step_ends)))
    traces.add_solved(
        1, Source("solutions", "solutions", "q"), solved(sequence.problem, [steps], 0.9)
    )
    (piece,) = list(traces.pieces())
    first, second = piece["problems"][0]["traces"]
    assert [piece["tokens"][code] for code in first["tokens"]] == list(sequence.tokens)
    assert [scores["source"] for scores in first["scores"]] == [0, 1]
    assert (list(first["acts"]), first["ends"]) == ([0, 0], list(sequence.step_ends))
    assert [scores["source"] for scores in second["scores"]] == [0]


def test_problems_of_most_sources_are_chosen_and_numbers_in_names_count() -> None:
    names = [["d/10", "d/9", "d/1"], ["d/9", "d/10", "d/2"]]
    assert choose_problems(names, 2) == ["d/9", "d/10"]
    assert choose_problems(names, 3) == ["d/1", "d/9", "d/10"]


def test_pieces_hold_their_own_tokens_alone(tmp_path: Path) -> None:
    data = data_set(tmp_path / "acts", n=24)
    names = list(data.store.problems)
    traces = Traces(names)
    traces.add_states(0, Source("acts", "s", None, 0), data)
    pieces = list(traces.pieces())
    assert [len(piece["problems"]) for piece in pieces] == [PIECE] * (len(names) // PIECE)
    for piece in pieces:
        used = {c for p in piece["problems"] for t in p["traces"] for c in t["tokens"]}
        assert used == set(range(len(piece["tokens"])))
