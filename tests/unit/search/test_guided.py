"""The search on small trees that are worked out by hand."""

import pytest

from rewardscope.problems.prompts import INSTRUCTION
from rewardscope.problems.thinking import StepFormat
from rewardscope.search.aggregate import Aggregation
from rewardscope.search.guided import NO_STEP, NOT_ENCODABLE, TOO_LONG_FOR_PRM, guided_search
from tests.unit.search.fakes import FLOPS, FakePolicy, FakePrm, Script, config, problem, search

# Four first steps, one of them twice. `b` and `a` live on; each is continued twice; `b2` goes on
# once more.
SCRIPT: Script = {
    "Q|": ["a\n\n", "b\n\n", "c\n\n", "a\n\n"],
    "Q|a\n\n": ["a1\n\n", "a2"],
    "Q|b\n\n": ["b1", "b2\n\n"],
    "Q|b\n\nb2\n\n": ["b3"],
}
SCORES = {"a": 0.5, "b": 0.9, "c": 0.1, "a1": 0.2, "a2": 0.8, "b1": 0.3, "b2": 0.6, "b3": 0.7}


@pytest.mark.parametrize(
    ("aggregation", "order"),
    [
        ("last", ["a a2", "b b2 b3", "b b1"]),  # 0.8, 0.7, 0.3
        ("min", ["b b2 b3", "a a2", "b b1"]),  # 0.6, 0.5, 0.3
        ("prod", ["a a2", "b b2 b3", "b b1"]),  # 0.4, 0.378, 0.27
        ("mean", ["b b2 b3", "a a2", "b b1"]),  # 0.733, 0.65, 0.6
    ],
)
def test_a_small_tree_by_hand(aggregation: Aggregation, order: list[str]) -> None:
    policy, prm = FakePolicy(SCRIPT), FakePrm(SCORES)
    ((solved, dropped),) = search(
        [problem("Q")], policy, scorer=prm, config=config(aggregation=aggregation)
    )
    assert [" ".join(trace.steps) for trace in solved.traces] == order
    assert all(
        trace.scores == tuple(SCORES[step] for step in trace.steps) for trace in solved.traces
    )
    assert (
        all(trace.finish == "eos" for trace in solved.traces) and solved.chosen == 0 and not dropped
    )
    assert [(call["prompts"], call["n"]) for call in policy.calls] == [(2, 2), (2, 2), (1, 2)]
    # the repeated `a` and `b3` are scored once
    assert [len(call) for call in prm.calls] == [3, 4, 1]
    assert solved.cost.policy_tokens == 4 * 3 + (2 + 4 + 4 + 2) + 2 * 2
    assert (
        solved.cost.prm_tokens
        == solved.cost.tree_tokens
        == len("Q|") + 3 * len("a|") + 4 * len("b1|") + len("b3|")
    )
    assert solved.cost.merged == 2  # `a` and `b3`


def test_a_scorer_that_encodes_anew_costs_whole_inputs() -> None:
    prm = FakePrm(SCORES)
    prm.reuses = False
    ((solved, _),) = search([problem("Q")], FakePolicy(SCRIPT), scorer=prm, config=config())
    assert solved.cost.prm_tokens == 3 * len("Q|a|") + 4 * len("Q|b|b1|") + len("Q|b|b2|b3|")
    assert solved.cost.tree_tokens == len("Q|") + 3 * len("a|") + 4 * len("b1|") + len("b3|")


def test_dvts_keeps_the_best_of_each_root_where_beam_search_keeps_the_best_of_all() -> None:
    script = {
        "Q|": ["a\n\n", "b\n\n", "c\n\n", "d\n\n"],
        **{f"Q|{letter}\n\n": ["x"] for letter in "abcd"},
    }
    prm = FakePrm({"a": 0.8, "b": 0.9, "c": 0.1, "d": 0.2, "x": 0.5})
    first_steps = {}
    for method in ("beam", "dvts"):
        ((solved, _),) = search(
            [problem("Q")], FakePolicy(script), scorer=prm, config=config(method=method)
        )
        first_steps[method] = {trace.steps[0] for trace in solved.traces}
    assert first_steps == {"beam": {"a", "b"}, "dvts": {"b", "d"}}


def test_a_branch_of_dvts_ends_alone() -> None:
    script = {
        "Q|": ["a", "b\n\n", "c\n\n", "d\n\n"],
        "Q|d\n\n": ["x\n\n"],
        "Q|d\n\nx\n\n": ["y"],
        "Q|b\n\n": ["z"],
    }
    prm = FakePrm({"a": 0.8, "b": 0.1, "c": 0.1, "d": 0.2, "x": 0.5, "y": 0.5, "z": 1.0})
    ((solved, _),) = search(
        [problem("Q")], FakePolicy(script), scorer=prm, config=config(method="dvts")
    )
    # b lost to a, which ended its branch
    assert [trace.steps for trace in solved.traces] == [("a",), ("d", "x", "y")]


def test_a_problem_starts_as_soon_as_one_ends() -> None:
    script = {**SCRIPT, "R|": ["c"], "S|": ["c"], "T|": ["a"]}
    names = "QRST"
    policy = FakePolicy(script)
    found = list(
        guided_search(
            [problem(name) for name in names],
            policy,
            scorer=FakePrm(SCORES),
            config=config(),
            at_once=2,
        )
    )
    assert [one.solved.problem.question for one in found] == ["R", "S", "Q", "T"]
    assert [call["prompts"] for call in policy.calls] == [4, 4, 3]
    alone = [
        search([problem(name)], FakePolicy(script), scorer=FakePrm(SCORES), config=config())[0]
        for name in names
    ]
    assert {one.solved.problem.id: one.solved.traces for one in found} == {
        one.solved.problem.id: one.solved.traces for one in alone
    }


def test_the_first_round_has_n_samples_and_the_best_n_over_width_beams_live_on() -> None:
    script = {
        "Q|": [f"{letter}\n\n" for letter in "abcdef"],
        **{f"Q|{letter}\n\n": ["x"] for letter in "abcdef"},
    }
    policy = FakePolicy(script)
    prm = FakePrm({**dict(zip("abcdef", (0.1, 0.6, 0.3, 0.5, 0.4, 0.2), strict=True)), "x": 0.5})
    ((solved, _),) = search([problem("Q")], policy, scorer=prm, config=config(n=6, width=2))
    assert [(call["prompts"], call["n"]) for call in policy.calls] == [(3, 2), (3, 2)]
    assert {trace.steps[0] for trace in solved.traces} == {"b", "d", "e"}


def test_all_problems_share_one_call_of_each_model_a_step() -> None:
    script = {**SCRIPT, "R|": ["c\n\n", "a"], "R|c\n\n": ["a2"]}
    policy, prm = FakePolicy(script), FakePrm(SCORES)
    together = search([problem("Q"), problem("R")], policy, scorer=prm, config=config())
    assert [call["prompts"] for call in policy.calls] == [4, 3, 1] and len(prm.calls) == 3
    alone = [
        search([problem(name)], FakePolicy(script), scorer=FakePrm(SCORES), config=config())[0]
        for name in "QR"
    ]
    assert [row.solved.traces for row in together] == [row.solved.traces for row in alone]
    assert together[0].solved.cost.policy_tokens == alone[0].solved.cost.policy_tokens


def test_seeds_do_not_depend_on_the_other_problems() -> None:
    script = {**SCRIPT, "R|": ["c\n\n", "a"], "R|c\n\n": ["a2"]}
    together, alone = FakePolicy(script), FakePolicy(SCRIPT)
    search([problem("R"), problem("Q")], together, scorer=FakePrm(SCORES), config=config(seed=3))
    search([problem("Q")], alone, scorer=FakePrm(SCORES), config=config(seed=3))
    assert [call["seeds"] for call in alone.calls] == [
        together.calls[0]["seeds"][2:],
        together.calls[1]["seeds"][1:],
        together.calls[2]["seeds"],
    ]
    each = [seed for call in alone.calls for seed in call["seeds"]]
    assert len(set(each)) == len(each) == 5
    other = FakePolicy(SCRIPT)
    search([problem("Q")], other, scorer=FakePrm(SCORES), config=config(seed=4))
    assert other.calls[0]["seeds"] != alone.calls[0]["seeds"]


def test_one_round_is_best_of_n_and_scores_every_step() -> None:
    policy = FakePolicy({"Q|": ["a\n\nb1", "b\n\nb2\n\nb3", "c"]})
    prm = FakePrm(SCORES)
    ((solved, _),) = search(
        [problem("Q")], policy, scorer=prm, config=config(n=3, width=1, max_steps=1)
    )
    assert policy.calls[0]["stop"] == ()
    assert [trace.scores for trace in solved.traces] == [(0.9, 0.6, 0.7), (0.5, 0.3), (0.1,)]


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


def test_seconds_of_a_round_are_shared_out_by_tokens() -> None:
    policy = FakePolicy({"Q|": ["a\n\na1\n\na2"], "R|": ["c"]})
    (first, _), (second, _) = search(
        [problem("Q"), problem("R")], policy, scorer=FakePrm(SCORES), config=config(max_steps=1)
    )
    tokens = [row.cost.policy_tokens + row.cost.prm_tokens for row in (first, second)]
    assert first.cost.seconds > 0
    assert first.cost.seconds / second.cost.seconds == pytest.approx(tokens[0] / tokens[1])


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


def test_the_operations_of_a_small_tree_by_hand() -> None:
    script = {"Q|": ["a\n\n", "b\n\n"], "Q|a\n\n": ["x"]}
    ((solved, _),) = search(
        [problem("Q")],
        FakePolicy(script),
        scorer=FakePrm({"a": 0.8, "b": 0.1, "x": 0.5}),
        config=config(n=2),
    )
    cost, prompt = solved.cost, len("Q\n\n" + INSTRUCTION + "\n\n")
    drawn = 2 * FLOPS.of_sampling(prompt, 3) + 2 * FLOPS.of_sampling(prompt + 3, 1)
    assert cost.policy_flops == FLOPS.of(0, prompt) + drawn and cost.policy_forwards == 3 + 1
    assert (
        cost.prm_flops == FLOPS.of(0, 2) + 2 * FLOPS.of(2, 4) + FLOPS.of(4, 6)
        and cost.prm_forwards == 2
    )


def test_best_of_n_gives_every_sample_also_equal_ones_which_are_scored_once() -> None:
    prm = FakePrm({"a": 0.4, "b": 0.9})
    ((solved, _),) = search(
        [problem("Q")],
        FakePolicy({"Q|": ["a", "b", "a", "a"]}),
        scorer=prm,
        config=config(max_steps=1),
    )
    assert [trace.steps for trace in solved.traces] == [("b",), ("a",), ("a",), ("a",)]
    assert [trace.index for trace in solved.traces] == [0, 1, 2, 3] and solved.cost.merged == 2
    assert [len(call) for call in prm.calls] == [2]
