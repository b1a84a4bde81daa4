"""What becomes of a candidate that is cut, blank, refused, hidden or beyond the PRM's window."""

from rewardscope.problems.prompts import INSTRUCTION
from rewardscope.problems.thinking import StepFormat
from rewardscope.search.guided import NO_STEP, NOT_ENCODABLE, TOO_LONG_FOR_PRM
from tests.unit.search.fakes import FakePolicy, FakePrm, config, problem, search

SCORES = {"a": 0.5, "b": 0.9, "c": 0.1, "a1": 0.2, "b1": 0.3, "b2": 0.6}


def test_the_last_round_runs_to_the_end_or_is_cut() -> None:
    policy = FakePolicy({"Q|": ["a\n\n"], "Q|a\n\n": ["b\n\nb1", ("b\n\nb2", "length")]})
    ((solved, _),) = search(
        [problem("Q")], policy, scorer=FakePrm(SCORES), config=config(n=2, width=2, max_steps=2)
    )
    assert [call["stop"] for call in policy.calls] == [("\n\n",), ()]
    found = [(trace.steps, trace.finish) for trace in solved.traces]
    # b2 scores more, but did not end
    assert found == [(("a", "b", "b1"), "eos"), (("a", "b", "b2"), "length")]


def test_a_step_that_hits_its_token_limit_is_cut_and_stays_a_trace() -> None:
    policy = FakePolicy({"Q|": [("b", "length"), "c\n\n"], "Q|c\n\n": ["a1"]})
    ((solved, _),) = search(
        [problem("Q")], policy, scorer=FakePrm(SCORES), config=config(n=2, width=2)
    )
    assert [(trace.steps, trace.finish) for trace in solved.traces] == [
        (("c", "a1"), "eos"),
        (("b",), "length"),
    ]


def test_a_beam_that_fills_the_policys_positions_is_cut() -> None:
    prompt = len(f"Q\n\n{INSTRUCTION}\n\n")
    policy = FakePolicy({"Q|": ["a\n\n"], "Q|a\n\n": ["b2\n\n"]}, max_positions=prompt + 7)
    ((solved, _),) = search(
        [problem("Q")], policy, scorer=FakePrm(SCORES), config=config(n=2, width=2)
    )
    assert [(trace.steps, trace.scores, trace.finish) for trace in solved.traces] == [
        (("a", "b2"), (0.5, 0.6), "length")
    ]
    assert len(policy.calls) == 2


def test_a_blank_step_is_not_scored_and_the_beam_goes_on() -> None:
    policy = FakePolicy(
        {
            "Q|": ["\n\n"],
            "Q|\n\n": ["a\n\n"],
            "Q|\n\na\n\n": ["\n\n"],
            "Q|\n\na\n\n\n\n": ["b\n\n"],
            "Q|\n\na\n\n\n\nb\n\n": ["c"],
        }
    )
    prm = FakePrm({"\n\na": 0.5, "\n\nb": 0.25, "c": 0.75})
    ((solved, _),) = search(
        [problem("Q")], policy, scorer=prm, config=config(n=1, width=1, max_steps=9)
    )
    assert [(trace.steps, trace.scores) for trace in solved.traces] == [
        (("\n\na", "\n\nb", "c"), (0.5, 0.25, 0.75))
    ]
    assert [len(call) for call in prm.calls] == [0, 1, 0, 1, 1]


def test_a_candidate_that_the_prm_cannot_take_is_dropped_and_counted() -> None:
    policy = FakePolicy({"Q|": ["a<tag>\n\n", "b1b1b1b1\n\n", "", "c\n\n"], "Q|c\n\n": ["a1"]})
    ((solved, dropped),) = search(
        [problem("Q")], policy, scorer=FakePrm(SCORES, max_positions=9), config=config()
    )
    assert [trace.steps for trace in solved.traces] == [("c", "a1")]
    assert dropped == {NOT_ENCODABLE: 1, TOO_LONG_FOR_PRM: 1, NO_STEP: 1}


def test_a_problem_whose_candidates_all_drop_keeps_its_best_prefix() -> None:
    policy = FakePolicy({"Q|": ["a\n\n", "b\n\n"], "Q|a\n\n": ["<tag>"], "Q|b\n\n": ["<tag>\n\n"]})
    ((solved, dropped),) = search([problem("Q")], policy, scorer=FakePrm(SCORES), config=config())
    assert [
        (trace.steps, trace.scores, trace.finish, trace.n_tokens) for trace in solved.traces
    ] == [(("b",), (0.9,), "length", 3)]
    assert dropped == {NOT_ENCODABLE: 2}


def test_hidden_thoughts_come_first_once_a_root_and_are_not_scored() -> None:
    form = StepFormat(thinking="think", shown="solution")
    opening = {"Q|": ["<think>p</think>", "<think>q</think>"]}
    script = {
        **opening,
        "Q|<think>p</think>": ["\n\na\n\n", "\n\nb\n\n"],
        "Q|<think>q</think>": ["c\n\n", "d\n\n"],
        "Q|<think>p</think>\n\na\n\n": ["x", "y"],
        "Q|<think>q</think>d\n\n": ["x", "y"],
    }
    policy, prm = (
        FakePolicy(script, stops=("</think>",)),
        FakePrm({"a": 0.8, "b": 0.1, "c": 0.2, "d": 0.9, "x": 0.7, "y": 0.6}),
    )
    ((solved, dropped),) = search([problem("Q")], policy, scorer=prm, config=config(form=form))
    assert [(trace.thinking, trace.steps) for trace in solved.traces] == [
        ("q", ("d", "x")),
        ("p", ("a", "x")),
        ("q", ("d", "y")),
        ("p", ("a", "y")),
    ]
    first = policy.calls[0]
    assert (first["prompts"], first["n"], first["stop"], first["max_tokens"]) == (
        2,
        1,
        ("</think>",),
        500,
    )
    assert {step for call in prm.calls for row in call for step in row} == {
        "a",
        "b",
        "c",
        "d",
        "x",
        "y",
    } and not dropped


def test_thoughts_that_never_end_are_a_trace_that_was_cut() -> None:
    form = StepFormat(thinking="think", shown="solution")
    policy = FakePolicy({"Q|": [("<think>p", "length")]})
    ((solved, dropped),) = search(
        [problem("Q")], policy, scorer=FakePrm({}), config=config(form=form)
    )
    (trace,) = solved.traces
    assert (trace.thinking, trace.steps, trace.scores, trace.finish, trace.in_window) == (
        "p",
        (),
        (),
        "length",
        None,
    ) and not dropped


def test_traces_within_and_beyond_the_window_are_told_apart() -> None:
    script = {"Q|": ["a\n\n", "b\n\n"], "Q|a\n\n": ["x"], "Q|b\n\n": ["long"]}
    prm = FakePrm({"a": 0.8, "b": 0.7, "x": 0.5, "long": 0.4}, window=len("Q|a|x|"))
    ((solved, _),) = search([problem("Q")], FakePolicy(script), scorer=prm, config=config())
    assert {trace.steps[-1]: trace.in_window for trace in solved.traces} == {
        "x": True,
        "long": False,
    }
