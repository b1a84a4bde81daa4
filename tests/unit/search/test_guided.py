"""The search on small trees that are worked out by hand."""

import pytest

from rewardscope.problems.prompts import INSTRUCTION
from rewardscope.search.aggregate import Aggregation
from rewardscope.search.guided import guided_search
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


def test_seconds_of_a_round_are_shared_out_by_tokens() -> None:
    policy = FakePolicy({"Q|": ["a\n\na1\n\na2"], "R|": ["c"]})
    (first, _), (second, _) = search(
        [problem("Q"), problem("R")], policy, scorer=FakePrm(SCORES), config=config(max_steps=1)
    )
    tokens = [row.cost.policy_tokens + row.cost.prm_tokens for row in (first, second)]
    assert first.cost.seconds > 0
    assert first.cost.seconds / second.cost.seconds == pytest.approx(tokens[0] / tokens[1])


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
